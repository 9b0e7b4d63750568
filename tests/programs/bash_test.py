#!/usr/bin/python3 -B
"""bash with many forks: subshells, substitutions, pipelines, coprocesses, jobs, and the shell's own data structures.

Oracle: output equal to the control's. A shell forks from a heap in full use, thousands of times, and each child
goes on allocating in its copy.
"""

import harness

kScript = r"""
set -eu
declare -A words
for i in {1..3000}; do
  words[key$((i * 7919 % 3001))]="value $i ${RANDOM:+x}"
done
for key in $(printf '%s\n' "${!words[@]}" | sort); do printf '%s=%s\n' "$key" "${words[$key]}"; done | sha256sum

total=0                                   # 800 forks without exec
for i in {1..400}; do
  value=$(echo $((i * i)))
  total=$((total + value))
  (( i % 2 )) || ( words[key$i]=changed; : "${words[key$i]}" )
done
echo "total $total, untouched ${words[key2]}"

for i in {1..150}; do echo "line $i" | tr a-z A-Z | sed 's/LINE/row/'; done | sha256sum   # 450 forks with exec

text=
for i in {1..4000}; do text+="chunk-$i,"; done
IFS=, read -ra parts <<<"$text"
echo "${#parts[@]} parts, ${#text} characters, ${parts[1234]}"
text=${text//chunk/piece}; echo "${text:100:60}"
[[ $text =~ piece-([0-9]+),piece-2000 ]] && echo "match ${BASH_REMATCH[1]}"

mapfile -t lines < <(seq 1 20000)
echo "${#lines[@]} ${lines[19999]} ${lines[*]:5000:5}"

coproc upper { while read -r line; do echo "${line^^}"; done; }
for i in {1..200}; do echo "coproc $i" >&"${upper[1]}"; read -r answer <&"${upper[0]}"; done
echo "$answer"
eval "exec ${upper[1]}>&-"; wait

for i in {1..40}; do { for j in {1..50}; do echo "$i $j"; done > "job.$i"; } & done
wait
cat job.* | sort -n -k1,1 -k2,2 | sha256sum

fib() { (( $1 < 2 )) && { echo "$1"; return; }; local a b; a=$(fib $(($1 - 1))); b=$(fib $(($1 - 2))); echo $((a + b)); }
echo "fib $(fib 10)"                      # nested forks, each child of a child
trap 'echo "usr1 in $((1 + 1))"' USR1; kill -USR1 $$; trap - USR1
here=$(cat <<END
$(for i in {1..500}; do echo "nested $i"; done)
END
)
echo "${#here}"
"""


def bash(trial):
    shell = trial.program("/usr/bin/bash", "bash")
    control, warren = trial.same([shell, trial.write("script.bash", kScript)], outputs=["job.*"])
    trial.check_witnesses(warren.witnesses, "/usr/bin/tr", at_least=300)


harness.main(bash)
