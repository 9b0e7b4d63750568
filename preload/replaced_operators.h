// Where the main program brings operators new and delete of its own, but not all of them.
// By the C++ standard, those that it leaves out end in those that it has: delete with a size calls delete without one, new[]
// calls new. Ours do their work themselves; a block that the program's new made in its own way would come to our delete[]. So in
// such a program ours become what the standard says. Caller: start.cc. Invariant: in all other programs nothing is written.
#pragma once

namespace warren::replaced_operators {

// Before anybody calls an operator, from the constructor.
void make_way();

bool there_are();

}  // namespace warren::replaced_operators
