# A whole program for bench/run.py: strings, hashes of arrays, splits and sorts in perl.
# Invariant: same output on every allocator.
use strict;
use warnings;

my ($state, %lines_of, @lines) = (1);
for my $number (1 .. 120_000) {
    my @words;
    for (1 .. 8) {
        $state = ($state * 1103515245 + 12345) % 2147483648;
        push @words, 'w' . int($state / 65536) % 4000;
    }
    push @lines, join ' ', @words;
}
for my $number (0 .. $#lines) {
    push @{ $lines_of{$_} }, $number for split / /, $lines[$number];
}
my $longest = (sort { @{ $lines_of{$b} } <=> @{ $lines_of{$a} } || $a cmp $b } keys %lines_of)[0];
my $text = join "\n", map { "$_:" . scalar @{ $lines_of{$_} } } sort keys %lines_of;
$text =~ s/w(\d+)/<$1>/g;
my @reversed = map { scalar reverse $_ } sort { $b cmp $a } @lines;
print join(' ', scalar(keys %lines_of), $longest, length $text, length join ',', @reversed), "\n";
