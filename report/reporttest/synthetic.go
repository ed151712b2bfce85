package reporttest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// distros is how many distributions a synthetic result has.
const distros = 7

// Synthetic makes a merged result as large as a large project's: n kernels, on a
// number of shards. They fail in a number of ways, at most 36, each on the newest
// kernels of one or two distributions that do not fail yet. The same arguments
// make the same result.
func Synthetic(n, shards, ways int) *report.Merged {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	m := Green()
	like := m.Kernels[0]
	m.Shards, m.Kernels = shards, nil
	of := map[int][]int{} // the places of a distribution's kernels that pass, the oldest first
	for i := range n {
		d, nth := i%distros, i/distros
		of[d] = append(of[d], i)
		k := like
		k.ID = fmt.Sprintf("distro%d/%d.%d.%d-%d.x86_64__%032x", d, 4+nth/100, nth/10%10, nth%10, nth, rnd.Uint64())
		k.Console, k.Tests = "results/"+k.ID+".txt", nil
		for t := range 24 {
			k.Tests = append(k.Tests, report.Test{Name: fmt.Sprintf("TestProbe%02d", t), Verdict: report.TestPass, Duration: time.Duration(rnd.IntN(900)) * time.Millisecond})
		}
		m.Kernels = append(m.Kernels, k)
	}
	for way := range ways {
		m.Verdict = report.Fail
		for _, d := range []int{way % distros, (3*way + 1) % distros}[:1+way%2] {
			first := max(0, len(of[d])-1-rnd.IntN(8))
			for _, i := range of[d][first:] {
				fail(rnd, &m.Kernels[i], way)
			}
			of[d] = of[d][:first]
		}
	}
	return m
}

// fail makes a kernel fail in one way; numbers differ from kernel to kernel as
// they do in real life.
func fail(rnd *rand.Rand, k *report.Result, way int) {
	word := []string{"unlink", "rename", "exec", "fork", "connect", "accept", "ptrace", "mmap", "setuid"}[way%9]
	var log strings.Builder
	for range 30 {
		fmt.Fprintf(&log, "[%12.6f]  vfs_%s+0x%x/0x%x r%d = *(u64 *)(r%d +%d)\n", rnd.Float64(), word, rnd.IntN(99), rnd.IntN(999), rnd.IntN(10), rnd.IntN(10), rnd.IntN(99))
	}
	title := ""
	switch way % 4 {
	case 0:
		Fail(k, way%23, fmt.Sprintf("    probe_test.go:%d: load program: permission denied: R%d invalid mem access 'scalar' in %s\n%s", 40+way, rnd.IntN(10), word, &log))
		return
	case 1:
		Fail(k, way%23, fmt.Sprintf("    probe_test.go:77: event %s: want pid %d, got %d\n", word, rnd.IntN(999), rnd.IntN(999)))
		return
	case 2:
		title = fmt.Sprintf("BUG: kernel NULL pointer dereference, address: %016x", rnd.Uint64())
	default:
		title = fmt.Sprintf("WARNING: CPU: %d PID: %d at kernel/bpf/%s.c:%d", rnd.IntN(8), rnd.IntN(999), word, rnd.IntN(999))
	}
	k.Verdict = report.Crash
	k.Cause = &report.Cause{Title: title, Excerpt: fmt.Sprintf("RIP: 0010:do_%s+0x%x/0x%x\nCall Trace:\n%s", word, rnd.IntN(200), 200+rnd.IntN(200), &log)}
}
