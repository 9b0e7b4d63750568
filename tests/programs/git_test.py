#!/usr/bin/python3 -B
"""git: a repository of some hundred commits, then clone, merge, gc with two threads, repack, fsck, blame, grep.

Oracle: object names (each is a hash of its content), output of every command, fsck clean, and the sha256 of a pack
made by one thread. A pack of two threads depends on scheduling, so of that one fsck and the object list are checked.
"""

import random

import harness

kScript = r"""
git init -q -b main repo
git -C repo fast-import --quiet < "$1"
cd repo
git config gc.autoDetach false
git config pack.threads 2
git reset -q --hard
for i in 1 2 3 4 5 6 7 8 9 10; do echo "by hand $i" >> hand.txt; git add hand.txt; git commit -q -m "hand $i"; done
git checkout -q -b side HEAD~5
seq 1 3000 > side.txt; git add side.txt; git commit -q -m side
git checkout -q main; git merge -q --no-edit side
git rebase -q --root --onto "$(git rev-parse HEAD~20)" HEAD~8 2>/dev/null || git rebase --abort
git tag -a -m annotated v1
git log --format='%H %an %ad %s' --date=iso --stat -M -C | sha256sum
git log -p --all --topo-order | sha256sum
git blame -w -C file3.txt | sha256sum
git grep -n -E 'line 1[0-9]+ of' HEAD~3 -- '*.txt' | sha256sum
git grep --threads=2 -c commit
git diff --stat --patience HEAD~60 HEAD | tail -3
git shortlog -sn HEAD
git gc -q --aggressive --prune=now
git fsck --full --strict 2>&1
git rev-list --objects --all | sort | sha256sum
git count-objects -v | grep -v '^size-pack'
git rev-list --objects --all | git pack-objects --threads=1 --no-reuse-delta --no-reuse-object -q --stdout | sha256sum
git repack -q -a -d -f --depth=20 --window=20
git verify-pack .git/objects/pack/*.idx
cd ..
git clone -q --no-local --bare repo copy.git
git -C copy.git fsck --full
git -C copy.git rev-parse main v1
git -C copy.git archive --format=tar main | sha256sum
git -C copy.git bundle create -q ../all.bundle --all
git -C copy.git bundle verify -q ../all.bundle
"""


def history(commits=400, files=12):
    """A stream for git fast-import: edits in the middle of text files, branches and merges, fixed dates."""
    rng = random.Random(7)
    texts = [[f"line {i} of file {f}" for i in range(rng.randrange(50, 600))] for f in range(files)]
    stream = []
    for commit in range(1, commits + 1):
        stream.append(f"commit refs/heads/main\nmark :{commit}\ncommitter Writer {commit % 5} <w@example.org> "
                      f"{1500000000 + commit * 3600} +0100")
        message = f"commit {commit}\n\nbody {rng.random()}\n"
        stream.append(f"data {len(message)}\n{message}")
        if commit > 1:
            stream.append(f"from :{commit - 1}")
        if commit > 10 and commit % 25 == 0:
            stream.append(f"merge :{commit - 7}")
        for f in rng.sample(range(files), 3):
            at = rng.randrange(len(texts[f]))
            texts[f][at:at + rng.randrange(3)] = [f"line {at} of commit {commit}"] * rng.randrange(1, 5)
            text = "\n".join(texts[f]) + "\n"
            stream.append(f"M 100644 inline {'dir/' * (f % 3)}file{f}.txt\ndata {len(text)}\n{text}")
    return "\n".join(stream) + "\n"


def git(trial):
    program = trial.program("/usr/bin/git", "git")
    stream = trial.write("history", history())
    settings = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"}
    for role in "AUTHOR", "COMMITTER":
        settings.update({f"GIT_{role}_NAME": "Tester", f"GIT_{role}_EMAIL": "t@example.org",
                         f"GIT_{role}_DATE": "1700000000 +0000"})
    control, warren = trial.same(["/bin/sh", "-eu", trial.write("script.sh", kScript), stream], env=settings)
    trial.check_witnesses(warren.witnesses, program, at_least=60)
    for word in b"error", b"missing", b"dangling", b"corrupt":
        if word in control.out:
            raise harness.Failure(f"git fsck is not clean: {harness.tail(control.out)}")


harness.main(git)
