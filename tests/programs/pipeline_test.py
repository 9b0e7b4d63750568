#!/usr/bin/python3 -B
"""awk, sed, sort and their company over some megabytes of text; GNU sort with two threads and temporary files.

Oracle: output equal to the control's. Many small programs, each alive as long as its pipe, several at once.
"""

import harness
import text_source

kScript = r"""
sort --parallel=2 -S 2M "$1" | sha256sum
sort --parallel=2 -S 64M -k2,2 -k1,1nr "$1" | sha256sum
sort --parallel=2 -S 1M -u -f -k3 --compress-program=gzip "$1" | sha256sum
tr -s ' ' '\n' < "$1" | sort --parallel=2 | uniq -c | sort -k1,1nr -k2 | head -50
awk '{ for (i = 2; i <= NF; i++) { count[$i]++; text[$i] = text[$i] substr($1, 1, 3) } }
     END { for (w in count) print w, count[w], length(text[w]) }' "$1" | sort | sha256sum
awk 'function r(n) { return n < 2 ? n : r(n - 1) + r(n - 2) }
     { gsub(/[aeiou]+/, "<&>"); split($0, p, /[<>]/); n += length(p); $2 = toupper($2); out = out $2 }
     END { print n, length(out), r(18); while (("echo sub" i++ | getline line) > 0 && i < 40) all = all line; print all }' "$1"
sed -E -e 's/([a-z]+) ([a-z]+)/\2 \1/g; /^9/{h;G;s/\n/ + /}; $!N; P; D' "$1" | sha256sum
sed -n -e '1~7p' -e '/abc/,/xyz/w matched.txt' "$1" | sha256sum
sed -e ':a;N;$!ba;s/\n/,/g' "$1" | cut -c 1-100000 | sha256sum
grep -c -E '(ab|cd)+[a-m]{2,4} [^ ]*q' "$1" || true
grep -o -w '[0-9]*7' "$1" | sort -n | tail -3
cut -d ' ' -f 2-4 "$1" | paste -d: - - - | rev | tac | expand | nl | tail -2
split -l 5000 "$1" part. ; sort -S 1M --batch-size=3 -m part.* | sha256sum; rm part.*
sort -k1,1 "$1" > a; sed 's/^1/2/' "$1" | sort -k1,1 > b
join a b | wc -l; comm -12 a b | wc -l; diff a b | sha256sum; diff -u --label a --label b a b | head -400 | sha256sum
seq 1 200000 | shuf --random-source="$1" | sort -n | sha256sum
seq 1 4000 | xargs -n 40 -P 2 echo | sort | sha256sum
find /usr/include -maxdepth 1 -name '*.h' | sort | xargs cat | wc | tr -s ' '
od -A x -t x1z "$1" | head -20000 | sha256sum
tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - a b | gzip -9n | base64 | md5sum
date -u -d '2024-02-29 12:00 +1 year' ; stat -c %s a; numfmt --to=iec 123456789; factor 1234567890123456789
"""


def pipeline(trial):
    trial.program("/usr/bin/awk", "mawk")
    trial.program("/usr/bin/sort", "coreutils")
    sed = trial.program("/usr/bin/sed", "sed")
    script, text = trial.write("script.sh", kScript), trial.write("text", text_source.words(2 << 20))
    _, warren = trial.same(["/bin/sh", "-eu", script, text], outputs=["matched.txt"])
    trial.check_witnesses(warren.witnesses, sed, at_least=150)


harness.main(pipeline)
