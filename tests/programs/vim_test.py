#!/usr/bin/python3 -B
"""vim -es: editing by script: a buffer of 30 000 lines, substitutes, sort, undo trees, folds, registers, VimL data.

Oracle: files written equal to the control's. vim frees and reallocs the lines of a buffer one by one, and keeps every
line changed in its undo tree.
"""

import harness
import text_source

kScript = r"""
set nocompatible encoding=utf-8 undolevels=1000 hidden
edit text
%s/\v<(\w+) (\w+)>/\2 \1/g
g/^\w* 12/move 0
silent! %s/\v([aeiou]{2,})/<\U\1>/
for i in range(1, 300)
  let &undolevels = &undolevels
  execute 'normal! ' . (i * 37) . 'Gyyp~A appended ' . i . "\<Esc>"
endfor
v/[xyz]/delete
%sort n
write! edited.txt
for i in range(80) | undo | endfor
write! undone.txt
for i in range(40) | redo | endfor
earlier 20
later 10
write! redone.txt
1,2000fold
2001,4000join
normal! gg"ayG
new
for i in range(1, 3000)
  call setline(i, printf('%05d %s', i, repeat('ab', i % 60)))
endfor
normal! gg"byG"bP"aP
%!sort -r | head -20000
write! filtered.txt
let data = {}
for i in range(20000)
  let data['key' . (i * 7919 % 3001)] = [i, 'text' . i, {'nested': range(i % 7)}]
endfor
let copy = deepcopy(data)
call map(copy, {key, value -> [key, len(value[2].nested)] + value[0:1]})
call filter(copy, 'v:val[1] % 2')
call writefile([json_encode(map(sort(keys(copy)), {a, b -> a > b ? 1 : -1}))], 'data.json')
function Fib(n)
  return a:n < 2 ? a:n : Fib(a:n - 1) + Fib(a:n - 2)
endfunction
let words = {}
for line in readfile('filtered.txt')
  for word in split(line, '\W\+')
    let words[word] = get(words, word, 0) + 1
  endfor
endfor
try
  call Missing()
catch /E117/
  let caught = v:exception
endtry
call writefile([Fib(15), caught, string(sort(items(words), {a, b -> b[1] - a[1] ? b[1] - a[1] : a[0] > b[0] ? 1 : -1})[0:50]),
  \ system('echo from a shell | tr a-z A-Z'), substitute(join(range(3000)), '\d\+', '\=submatch(0) * 3', 'g')], 'answers.txt')
syntax on
set filetype=c foldmethod=syntax spell
for i in range(30)
  split | vsplit | tabnew | split | only!
endfor
mksession! session.vim
tabdo windo bwipeout!
qall!
"""


def vim(trial):
    program = trial.program("/usr/bin/vim.basic", "vim")
    text, script = trial.write("text", text_source.words(500000)), trial.write("script.vim", kScript.lstrip())
    _, warren = trial.same(["/bin/sh", "-euc", f'cp {text} text; exec {program} -es -u NONE -i NONE -n -S {script}'],
                           outputs=["*.txt", "*.json", "session.vim"])
    trial.check_witnesses(warren.witnesses, program, at_least=4)


harness.main(vim)
