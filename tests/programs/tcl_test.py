#!/usr/bin/python3 -B
"""tclsh: dicts, lists, strings, regular expressions, interpreters made and deleted, coroutines, channels.

Oracle: output equal to the control's. Debian's Tcl has an allocator of its own with caches per thread; large blocks
and its refills come from malloc and go back to it at odd times.
"""

import harness

kScript = r"""
package require Tcl 8.6
expr {srand(7)}
set table [dict create]
for {set i 0} {$i < 60000} {incr i} {
    dict lappend table key[expr {$i * 7919 % 5003}] "value $i"
    if {$i % 5 == 0} { dict unset table key[expr {$i * 31 % 5003}] }
}
puts "dict [dict size $table] [string length [dict get $table key17]] [zlib crc32 [encoding convertto utf-8 $table]]"
array set words {}
set text [string repeat "the quick brown fox jumps over 12 lazy dogs; " 3000]
foreach word [regexp -all -inline {\w+} $text] { incr words($word) }
puts "words [lsort -stride 2 -index 1 -integer [array get words]]"
puts "regsub [regsub -all {(\w)(\w*)} $text {\2\1} out] [zlib adler32 $out]"
set list {}
for {set i 0} {$i < 80000} {incr i} { lappend list [list [expr {int(rand() * 1000)}] item$i] }
set list [lsort -index 0 -integer [lsort -index 1 $list]]
puts "sort [lindex $list 0] [lindex $list 40000] [zlib crc32 $list]"
set list [lreplace $list 100 60000 {*}[lrepeat 500 x]]
puts "list [llength $list]"
for {set i 0} {$i < 120} {incr i} {                       ;# interpreters come and go
    set child [interp create -safe]
    $child eval {proc fill n {set l {}; for {set i 0} {$i < $n} {incr i} {lappend l [list $i [string repeat z $i]]}; llength $l}}
    incr filled [$child eval fill [expr {$i % 50 + 50}]]
    interp delete $child
}
puts "interpreters $filled"
proc numbers {} { yield; for {set i 0} {1} {incr i} { yield [expr {$i ** 9}] } }
coroutine next numbers
for {set i 0} {$i < 3000} {incr i} { set last [next] }
puts "coroutine $last"
proc factorial n { if {$n < 2} {return 1}; expr {$n * [factorial [expr {$n - 1}]]} }
puts "factorial [string length [factorial 600]] [expr {[factorial 300] % 1000003}]"
set packed [zlib compress [string repeat $text 5] 9]
puts "zlib [string length $packed] [expr {[zlib decompress $packed] eq [string repeat $text 5]}]"
set channel [open scratch.txt w+]
fconfigure $channel -encoding unicode -buffersize 100000
for {set i 0} {$i < 20000} {incr i} { puts $channel "line $i \u00e4\u20ac" }
seek $channel 0
set count 0
while {[gets $channel line] >= 0} { incr count [string length $line] }
close $channel
puts "channel $count [file size scratch.txt]"
oo::class create Stack {
    variable items
    constructor {} { set items {} }
    method push x { lappend items $x }
    method size {} { llength $items }
    destructor { incr ::destroyed }
}
for {set i 0} {$i < 4000} {incr i} { set s [Stack new]; $s push $i; $s push $s; if {$i % 2} { $s destroy } }
puts "objects $destroyed [llength [info class instances Stack]]"
puts "exec [exec echo child | tr a-z A-Z | sed s/C/K/]"
catch {error "an error" "" {CODE 1}} message options
puts "$message [dict get $options -errorcode] [format %.10f [expr {acos(-1)}]] [clock format 0 -gmt 1]"
interp recursionlimit {} 500
proc deep {} deep
puts [catch deep message]
"""


def tcl(trial):
    program = trial.program("/usr/bin/tclsh", "tcl")
    _, warren = trial.same([program, trial.write("script.tcl", kScript)], outputs=["scratch.txt"])
    trial.check_witnesses(warren.witnesses, program, at_least=3)


harness.main(tcl)
