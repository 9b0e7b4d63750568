#!/usr/bin/python3 -B
"""perl: scalars, hashes and closures are each one malloc block; strings grow by realloc; ithreads clone the whole heap.

Oracle: output equal to the control's, with PERL_HASH_SEED=0 so that hash order is fixed.
"""

import harness

kScript = r"""
use strict; use warnings; use threads; use Digest::SHA qw(sha256_hex); use Storable qw(dclone freeze thaw);
use List::Util qw(sum reduce shuffle); use Data::Dumper; use POSIX (); use IO::Handle;
$| = 1; srand(42); $Data::Dumper::Sortkeys = 0;

my %table;
for my $i (1 .. 120_000) {
  my $key = "key" . ($i * 7919 % 30011);
  push @{ $table{$key}{list} }, $i if $i % 5;
  $table{$key}{text} .= "x$i,";
  delete $table{"key" . ($i * 31 % 30011)} if $i % 4 == 0;
}
print "table ", scalar(keys %table), " ", sha256_hex(join "|", map { "$_=$table{$_}{text}" } keys %table), "\n";
print "order ", sha256_hex(Dumper({ map { $_ => $table{$_} } (sort keys %table)[0 .. 500] })), "\n";

my $text = join " ", map { "word$_ " . ("ab" x ($_ % 20)) } 1 .. 20_000;
my %count; $count{$1}++ while $text =~ /\b(word\d+|(?:ab)+)\b/g;
(my $changed = $text) =~ s/(\d+)/sprintf("%x", $1 * 3)/ge;
print "regex ", scalar(keys %count), " ", sha256_hex($changed), "\n";
my $grown = ""; $grown .= chr(65 + $_ % 26) x ($_ % 50) for 1 .. 60_000; substr($grown, 1000, 50_000) = "cut";
print "string ", length($grown), " ", sha256_hex($grown), "\n";

my $deep = []; my $at = $deep; for (1 .. 100_000) { my $next = []; push @$at, $next; $at = $next } undef $deep;
my @closures = map { my $n = $_; my @big = (1) x ($n % 60); sub { $n + @big + shift } } 1 .. 20_000;
print "closures ", sum(map { $closures[$_]->($_) } 0 .. $#closures), "\n";
my $copy = thaw(freeze(dclone(\%table))); print "storable ", scalar(keys %$copy), "\n";
my @sorted = sort { $a->{n} <=> $b->{n} || $a->{s} cmp $b->{s} } map { { n => int(rand 1000), s => "s$_" } } 1 .. 40_000;
print "sort ", sha256_hex(join ",", map { $_->{s} } @sorted[0 .. 2000]), "\n";
for my $i (1 .. 300) { eval "sub generated_$i { my \@a = (1 .. $i); return scalar \@a } 1" or die $@; }
print "eval ", generated_300(), "\n"; { local $@; eval { die { code => 7 } }; print "died $@->{code}\n"; }

my @crew = map { my $id = $_; threads->create(sub {
  my %own = map { ("t$id-$_" => "v" x ($_ % 99)) } 1 .. 4000;
  return sha256_hex(join ",", map { "$_$own{$_}" } sort keys %own) }) } 1 .. 3;
print "thread ", $_->join, "\n" for @crew;

my @answers;
for my $i (1 .. 60) {
  pipe(my $r, my $w) or die; my $pid = fork // die;
  if (!$pid) { print {$w} scalar(grep { exists $table{"key$_"} } $i * 100 .. $i * 100 + 99); close $w; POSIX::_exit($i % 7) }
  close $w; my $answer = <$r>; waitpid $pid, 0; push @answers, "$answer/" . ($? >> 8);
}
print "fork @answers\n";
print "qx ", map({ `echo child $_` } 1 .. 20);
format STDOUT =
@<<<<<<<<<< @>>>>>> @##.##
"formatted", 42, 3.14159
.
write;
"""


def perl(trial):
    program = trial.program("/usr/bin/perl", "perl")
    _, warren = trial.same([program, trial.write("script.pl", kScript)], env={"PERL_HASH_SEED": "0"})
    trial.check_witnesses(warren.witnesses, program)
    trial.same([program, "-V:usethreads"])


harness.main(perl)
