#!/usr/bin/python3 -B
"""php: arrays, strings, serialisation, regular expressions, cycles, extensions, a server with several requests.

Oracle: output equal to the control's. PHP opens its extensions with RTLD_DEEPBIND, so that they find libc's malloc before
any other, and they and the program free each other's blocks. USE_ZEND_ALLOC=0 sends every allocation to malloc.
"""

import harness

kScript = r"""<?php
mt_srand(3);
$table = [];
for ($i = 0; $i < 150000; $i++) {
    $table["key" . mt_rand(0, 30000)] = str_repeat(chr(65 + $i % 26), $i % 200);
    if ($i % 3 == 0) unset($table["key" . mt_rand(0, 30000)]);
}
ksort($table);
echo count($table), " ", md5(serialize($table)), "\n";
echo strlen($json = json_encode($table)), " ", count(json_decode($json, true)), "\n";
for ($i = 0; $i < 300; $i++) preg_match_all('/(a+)(b*)(?<last>c)/', str_repeat('aaabbbc', 100 + $i), $found);
echo count($found['last']), "\n";
class Node { public $other; public $text; function __construct($n) { $this->text = str_repeat('x', $n); } }
for ($i = 0; $i < 20000; $i++) { $a = new Node($i % 300); $a->other = new Node(10); $a->other->other = $a; }
echo gc_collect_cycles() > 0 ? "cycles\n" : "none\n";
$large = str_repeat('large', 5000000);
echo strlen($large . $large), " ", crc32($large), "\n";
unset($large);
$fixed = new SplFixedArray(300000);
for ($i = 0; $i < 300000; $i++) $fixed[$i] = [$i];
echo $fixed[299999][0], "\n";
function lines($n) { for ($i = 0; $i < $n; $i++) yield sprintf("%05d %s", $i, str_repeat('y', $i % 50)); }
$length = 0;
foreach (lines(100000) as $line) $length += strlen($line);
echo $length, "\n";
foreach (['ctype' => 'ctype_alpha', 'iconv' => 'iconv', 'tokenizer' => 'token_get_all', 'pdo' => 'pdo_drivers'] as $extension => $function)
    echo $extension, " ", extension_loaded($extension) ? "loaded" : "missing", "\n";
echo iconv('UTF-8', 'UTF-16LE', str_repeat('wörter ', 10)) === false ? "no" : "yes", " ", count(token_get_all('<?php ' . str_repeat('$a = f("b");', 3000))), "\n";
$pid = proc_open(['/bin/cat'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
fwrite($pipes[0], str_repeat("through a child\n", 100)); fclose($pipes[0]);
echo strlen(stream_get_contents($pipes[1])), " ", proc_close($pid), "\n";
try { (function ($n) { throw new RuntimeException("thrown $n"); })(5); } catch (Exception $e) { echo $e->getMessage(), "\n"; }
"""


def php(trial):
    program = trial.program("/usr/bin/php", "php-cli")
    script = trial.write("script.php", kScript)
    for of_zend in ("1", "0"):
        _, warren = trial.same([program, "-d", "memory_limit=-1", script], env={"USE_ZEND_ALLOC": of_zend})
        trial.check_witnesses(warren.witnesses, program)


harness.main(php)
