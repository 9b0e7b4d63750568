// pauses.cc in Go: the same work, measured in the same way, on Go's own collector. Run by bench/gc.py. The thread
// that looks how late it wakes sleeps in the kernel, so that Go's timers and scheduler are not what is measured; that
// it has to get a processor of the runtime's back afterwards is, since every Go program has to.
package main

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	depth      = 3
	nodes      = 15
	shortLived = 4
	period     = 100000
	slack      = 29 // PR_SET_TIMERSLACK
)

type node struct {
	left, right *node
	values      [4]uint64
}

type histogram struct {
	counts          [64 * 16]uint64
	total, greatest uint64
}

func (h *histogram) note(time uint64) {
	bucket := time
	if time >= 16 {
		shift := uint64(bits.Len64(time)) - 5
		bucket = (shift+1)*16 + time>>shift&15
	}
	h.counts[bucket]++
	h.total++
	if time > h.greatest {
		h.greatest = time
	}
}

func (h *histogram) noteWithOmitted(time uint64) {
	h.note(time)
	for time > period {
		time -= period
		h.note(time)
	}
}

func (h *histogram) add(other *histogram) {
	for i, count := range other.counts {
		h.counts[i] += count
	}
	h.total += other.total
	if other.greatest > h.greatest {
		h.greatest = other.greatest
	}
}

func (h *histogram) at(part float64) uint64 {
	wanted := uint64(part * float64(h.total))
	seen := uint64(0)
	for i, count := range h.counts {
		seen += count
		if seen > wanted {
			upper := uint64(i)
			if i >= 16 {
				upper = (16+uint64(i)%16+1)<<(i/16-1) - 1
			}
			if upper < h.greatest {
				return upper
			}
			break
		}
	}
	return h.greatest
}

func (h *histogram) print(name string) {
	fmt.Printf("%s_p50_ns %d\n%s_p99_ns %d\n", name, h.at(0.5), name, h.at(0.99))
	fmt.Printf("%s_p99.9_ns %d\n%s_p99.99_ns %d\n%s_max_ns %d\n", name, h.at(0.999), name, h.at(0.9999), name, h.greatest)
}

var start = time.Now()

func now() uint64 { return uint64(time.Since(start)) }

func build(depth int, value *uint64) *node {
	made := &node{}
	if depth > 0 {
		made.left = build(depth-1, value)
		made.right = build(depth-1, value)
	}
	made.values[0] = *value
	*value++
	return made
}

func sum(n *node) uint64 {
	if n == nil {
		return 0
	}
	return n.values[0] + 3*sum(n.left) + 5*sum(n.right)
}

func child(n *node, bit uint64) **node {
	if bit&1 != 0 {
		return &n.left
	}
	return &n.right
}

type worker struct {
	trees                       []*node
	operations, state, checksum uint64
	times                       histogram
}

var sink [64]*node // one for each worker: keeps the short-lived nodes on the heap

func (w *worker) operate(number int) {
	w.state ^= w.state << 13
	w.state ^= w.state >> 7
	w.state ^= w.state << 17
	dice := w.state
	count := uint64(len(w.trees))
	one := w.trees[(dice>>8)%count]
	other := w.trees[(dice>>32)%count]
	a, b := child(one, dice), child(other, dice>>1)
	*a, *b = *b, *a
	leaf := child(*child(*child(one, dice>>2), dice>>3), dice>>4)
	*leaf = &node{values: [4]uint64{(*leaf).values[0] + 1}}
	for i := uint64(0); i < shortLived; i++ {
		made := &node{values: [4]uint64{i}}
		sink[number] = made
		w.checksum += made.values[0]
	}
}

func (w *worker) work(number int) {
	before := now()
	for i := uint64(0); i < w.operations; i++ {
		w.operate(number)
		after := now()
		w.times.note(after - before)
		before = after
	}
}

var over int32

func look(late *histogram, done *sync.WaitGroup) {
	defer done.Done()
	runtime.LockOSThread()
	syscall.RawSyscall(syscall.SYS_PRCTL, slack, 1, 0)
	for atomic.LoadInt32(&over) == 0 {
		due := now() + period
		for {
			left := int64(due) - int64(now())
			if left <= 0 {
				break
			}
			rest := syscall.Timespec{Nsec: left}
			syscall.Nanosleep(&rest, nil)
		}
		late.noteWithOmitted(now() - due)
	}
}

func cycles() uint32 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.NumGC
}

func main() {
	mib, _ := strconv.ParseUint(os.Args[1], 10, 64)
	operations, _ := strconv.ParseUint(os.Args[2], 10, 64)
	threads, _ := strconv.ParseUint(os.Args[3], 10, 64)
	trees := mib << 20 / 48 / nodes
	workers := make([]*worker, threads)
	value := uint64(0)
	for i := range workers {
		w := &worker{operations: operations / threads, state: 88172645463325252 + uint64(i)}
		w.trees = make([]*node, trees/threads)
		for k := range w.trees {
			w.trees[k] = build(depth, &value)
		}
		workers[i] = w
	}
	before := cycles()
	var late histogram
	var looking, working sync.WaitGroup
	looking.Add(1)
	go look(&late, &looking)
	begin := now()
	for i, w := range workers {
		working.Add(1)
		go func(i int, w *worker) {
			defer working.Done()
			w.work(i)
		}(i, w)
	}
	working.Wait()
	elapsed := now() - begin
	atomic.StoreInt32(&over, 1)
	looking.Wait()
	ran := cycles() - before

	var times histogram
	checksum := uint64(0)
	for _, w := range workers {
		times.add(&w.times)
		checksum += w.checksum
		for _, tree := range w.trees {
			checksum = checksum*7 + sum(tree)
		}
	}
	fmt.Printf("operations %d checksum %d\ncycles %d\nwork_ns %d\n", operations, checksum, ran, elapsed)
	late.print("late")
	times.print("operation")
}
