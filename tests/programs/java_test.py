#!/usr/bin/python3 -B
"""OpenJDK: javac compiles, java runs threads, Deflater, direct buffers and caught null pointers, all on warren.

Oracle: class files byte-identical, output equal to the control's. The virtual machine takes SIGSEGV for null checks
and stack banging, stops its threads by signals and by page faults, starts threads with stacks of its own choice and
keeps its native memory (arenas, zlib streams, direct buffers, symbols) in malloc.
"""

import harness

kSource = r"""
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.*;
import java.util.zip.*;

public class Stress {
  record Entry(int id, String name, List<Integer> numbers) {}
  interface Shape { double area(); }

  static String hash(byte[] data) throws Exception {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data)).substring(0, 16);
  }

  static byte[] payload(int seed, int size) {
    byte[] data = new byte[size];
    Random random = new Random(seed);
    for (int i = 0; i < size; i++) data[i] = (byte) (random.nextInt() % 23);
    return data;
  }

  static String zip(int seed) throws Exception {
    byte[] data = payload(seed, 30000 + seed * 97);
    Deflater deflater = new Deflater(1 + seed % 9);
    Inflater inflater = new Inflater();
    try {
      deflater.setInput(data);
      deflater.finish();
      byte[] packed = new byte[data.length + 1000], back = new byte[data.length];
      int size = deflater.deflate(packed);
      inflater.setInput(packed, 0, size);
      if (inflater.inflate(back) != data.length || !Arrays.equals(back, data)) throw new AssertionError("inflate");
      return hash(Arrays.copyOf(packed, size));
    } finally {
      deflater.end();
      if (seed % 2 == 0) inflater.end();                 // the other half is left to the cleaner thread
    }
  }

  static String direct(int seed) throws Exception {
    List<ByteBuffer> buffers = new ArrayList<>();
    for (int i = 0; i < 60; i++) {
      ByteBuffer buffer = ByteBuffer.allocateDirect(1 << (i % 17));
      for (int k = 0; k + 4 <= buffer.capacity(); k += 64) buffer.putInt(k, seed * i + k);
      buffers.add(buffer);
    }
    CRC32 crc = new CRC32();
    for (ByteBuffer buffer : buffers) crc.update(buffer);
    return Long.toHexString(crc.getValue());
  }

  static int nulls(int count) {                          // SIGSEGV handled by the virtual machine
    int caught = 0;
    for (int i = 0; i < count; i++) {
      String text = i % 3 == 0 ? null : "x";
      try { caught += text.length() - 1; } catch (NullPointerException e) { caught++; }
    }
    return caught;
  }

  static int depth(int n) { try { return depth(n + 1); } catch (StackOverflowError e) { return 1; } }

  public static void main(String[] args) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(6);
    List<Future<String>> results = new ArrayList<>();
    for (int i = 0; i < 60; i++) { int seed = i; results.add(pool.submit(() -> zip(seed) + " " + direct(seed))); }
    for (Future<String> result : results) System.out.println(result.get());
    pool.shutdown();

    LongAdder total = new LongAdder();
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 200; i++) {
      int id = i;
      Thread thread = new Thread(null, () -> total.add(nulls(300) + ("t" + id).hashCode() % 10), "t" + i, (id % 4) * 65536L);
      threads.add(thread);
      thread.start();
    }
    for (Thread thread : threads) thread.join();
    System.out.println("threads " + total + " depth " + depth(0));

    Map<String, Entry> map = new ConcurrentHashMap<>();
    IntStream.range(0, 60000).parallel().forEach(i ->
        map.put("key" + i % 20000, new Entry(i % 20000, "n" + i % 20000, IntStream.range(0, i % 7).boxed().toList())));
    System.out.println("map " + map.values().stream().mapToInt(Entry::id).sum() + " " + map.size());
    System.out.println("words " + hash(new TreeMap<>(map).keySet().stream().collect(Collectors.joining(",")).getBytes()));
    Shape[] shapes = { () -> 1.5, () -> 2.5 };
    System.out.println("area " + Arrays.stream(shapes).mapToDouble(Shape::area).sum());
    System.gc();
    try { Class.forName("No.Such"); } catch (ClassNotFoundException e) { System.out.println(e.getMessage()); }
    System.out.println(String.format(Locale.ROOT, "%08.3f %s", Math.PI, "text".repeat(3)));
    Process process = new ProcessBuilder("/bin/echo", "child of java").redirectErrorStream(true).start();
    System.out.println(new String(process.getInputStream().readAllBytes()).trim() + " " + process.waitFor());
  }
}
"""

kScript = """
javac -J-Xmx300m -J-XX:TieredStopAtLevel=1 -d classes "$1"
java -Xmx256m -XX:+UseG1GC -XX:NativeMemoryTracking=summary -XX:-UsePerfData -cp classes Stress
java -Xmx200m -XX:+UseSerialGC -XX:-UsePerfData -Xint -version
"""


def java(trial):
    program = trial.program("/usr/bin/java", "openjdk-17-jdk-headless")
    compiler = trial.program("/usr/bin/javac", "openjdk-17-jdk-headless")
    source, script = trial.write("Stress.java", kSource), trial.write("script.sh", kScript)
    _, warren = trial.same(["/bin/sh", "-eu", script, source], outputs=["classes/*.class"])
    trial.check_witnesses(warren.witnesses, program)
    trial.check_witnesses(warren.witnesses, compiler)
    trial.check_witnesses(warren.witnesses, "/bin/echo")


harness.main(java)
