package shard

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// tracerPayload is the check of the built-in tracer, all its tests.
func tracerPayload(b *testing.B) guest.Payload {
	b.Helper()
	tracer, err := guest.Program(b.Context(), "amd64", guest.Tracer)
	if err != nil {
		b.Fatal(err)
	}
	p, err := guest.EventsTracePayload(b.Context(), "amd64", tracer, 5*time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// benchRunner makes a runner for n kernels of one image, each under a name of
// its own.
func benchRunner(b *testing.B, p guest.Payload, n, jobs int) (*Runner, plan.Plan) {
	b.Helper()
	l, err := setUp()
	if err != nil {
		b.Fatal(err)
	}
	limits := vm.DefaultLimits(qemu.TCG, 90*time.Second, 5*time.Minute)
	limits.Silence, limits.Test = 3*time.Minute, 5*time.Minute
	p.Job.Timeout, p.Job.TestTimeout = limits.Payload, limits.Test
	im, err := l.entry.Source.Open(b.Context(), l.entry.Ref)
	if err != nil {
		b.Fatal(err)
	}
	image, err := os.ReadFile(im.Kernel)
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "debian"), 0o755); err != nil {
		b.Fatal(err)
	}
	for i := range n {
		// What is behind the image makes it another one, which is unpacked anew.
		if err := os.WriteFile(filepath.Join(dir, "debian", fmt.Sprintf("vmlinuz-6.1.%d", i)), fmt.Append(image, i), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	cache, err := kernel.NewCache(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	src, err := source.Parse(dir, cache)
	if err != nil {
		b.Fatal(err)
	}
	list, err := plan.New(b.Context(), []kernel.Source{src}, nil)
	if err != nil {
		b.Fatal(err)
	}
	return &Runner{
		Config: Config{
			Out: b.TempDir(), Arch: l.arch, Payload: p, Jobs: jobs, Limits: limits, Tool: "bench", Boot: BootCold,
			Report: func(Event) {},
		},
		Host: Host{
			Scratch: b.TempDir(), QEMU: l.qemu, Accel: qemu.TCG, TSC: l.tsc, Features: l.features,
			Cache: cache, InitProgram: l.init, Now: time.Now, Random: rand.Reader,
		},
	}, list
}

// allPass fails for a run that is no figure to quote.
func allPass(b *testing.B, results []report.Result, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range results {
		if k.Verdict != report.Pass {
			b.Fatalf("%s: %v, %+v", k.ID, k.Verdict, k.Cause)
		}
	}
}

// BenchmarkVerdict times one kernel from its image to its verdict: with a program
// that does nothing, with the tracer's whole list of tests, and with a directory
// of objects. whole/parts is a kernel's time, decompression and judging
// included, by the sum of what its phases say: its boot, one start of the tracer
// and its tests, without the time until QEMU runs and until it is gone.
//
//	go test -run '^$' -bench Verdict -benchtime 5x ./shard
func BenchmarkVerdict(b *testing.B) {
	l, err := setUp()
	if err != nil {
		b.Fatal(err)
	}
	for _, x := range []struct {
		name    string
		payload func(*testing.B) (guest.Payload, error)
	}{
		{"nothing", func(b *testing.B) (guest.Payload, error) {
			return guest.TestPayload(b.Context(), l.hostile, []string{"pass"}, "/", "amd64", time.Minute)
		}},
		{"tracer", func(b *testing.B) (guest.Payload, error) { return tracerPayload(b), nil }},
		{"objects", func(b *testing.B) (guest.Payload, error) {
			paths, err := guest.FindObjects([]string{"../guest/loader/testdata/trace.bpf.o", "../guest/loader/testdata/net.bpf.o"})
			if err != nil {
				return guest.Payload{}, err
			}
			return guest.ObjectsPayload(b.Context(), "amd64", readObjects(b, paths), wire.Objects{Loader: wire.LoaderGo, Load: wire.LoadEach, Unsupported: wire.TestSkip}, time.Minute)
		}},
	} {
		b.Run(x.name, func(b *testing.B) {
			p, err := x.payload(b)
			if err != nil {
				b.Fatal(err)
			}
			sums := map[string][]float64{}
			for b.Loop() {
				b.StopTimer()
				r, list := benchRunner(b, p, 1, 1)
				b.StartTimer()
				start := time.Now()
				results, err := r.Run(b.Context(), list)
				whole := time.Since(start)
				allPass(b, results, err)
				ph := results[0].Phases
				parts := ph["boot"] + ph["payload"]
				sums["boot-s"] = append(sums["boot-s"], time.Duration(ph["boot"]).Seconds())
				sums["load-s"] = append(sums["load-s"], time.Duration(ph["load"]).Seconds())
				sums["payload-s"] = append(sums["payload-s"], time.Duration(ph["payload"]).Seconds())
				sums["vm-s"] = append(sums["vm-s"], time.Duration(ph["vm"]).Seconds())
				sums["whole-s"] = append(sums["whole-s"], whole.Seconds())
				sums["whole/parts"] = append(sums["whole/parts"], whole.Seconds()/time.Duration(parts).Seconds())
			}
			for unit, xs := range sums {
				b.ReportMetric(medianOf(xs), unit)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func medianOf(xs []float64) float64 {
	slices.Sort(xs)
	return (xs[len(xs)/2] + xs[(len(xs)-1)/2]) / 2
}

// BenchmarkRun runs twenty kernels with the built-in tracer, none of which was
// seen before, on one and on two workers. busy-% is the time of processors that
// this process and its VMs took until the last VM was started, by what as many
// processors as there are workers had to give; wait-% is the time that fewer
// kernels than workers were running.
// BENCH_KERNELS changes the number.
//
//	go test -run '^$' -bench 'Run$' -benchtime 1x ./shard
func BenchmarkRun(b *testing.B) {
	p := tracerPayload(b)
	n := 20
	if s := os.Getenv("BENCH_KERNELS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 {
			b.Fatalf("BENCH_KERNELS is %q: want a number", s)
		}
	}
	for _, jobs := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers-%d", jobs), func(b *testing.B) {
			for b.Loop() {
				r, list := benchRunner(b, p, n, jobs)
				var mu sync.Mutex
				var start, last time.Time
				var before, until, running time.Duration
				booted, active := 0, 0
				var changed time.Time
				tick := func(now time.Time, d int) {
					if !changed.IsZero() && booted < n {
						running += time.Duration(min(active, jobs)) * now.Sub(changed)
					}
					active += d
					changed = now
				}
				r.Report = func(e Event) {
					mu.Lock()
					defer mu.Unlock()
					switch now := time.Now(); e.State {
					case Booting:
						tick(now, 1)
						if booted++; booted == n {
							last, until = now, cpuOfTree(b)
						}
					case Done:
						tick(now, -1)
					}
				}
				start, before = time.Now(), cpuOfTree(b)
				changed = start
				results, err := r.Run(b.Context(), list)
				whole := time.Since(start)
				allPass(b, results, err)
				room := time.Duration(jobs) * last.Sub(start)
				b.ReportMetric(whole.Seconds(), "whole-s")
				b.ReportMetric(100*(until-before).Seconds()/room.Seconds(), "busy-%")
				b.ReportMetric(100*(1-running.Seconds()/room.Seconds()), "wait-%")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpuOfTree is the time of processors that this process, and what it started and
// still runs or has waited for, took so far.
func cpuOfTree(b *testing.B) time.Duration {
	var sum time.Duration
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			b.Error(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	const hz = 100 // USER_HZ, the same on all of Linux's architectures that we run on
	self := strconv.Itoa(os.Getpid())
	procs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Error(err)
	}
	for _, name := range procs {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended, and is among those waited for
		}
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		f := strings.Fields(rest)
		if len(f) < 13 || f[1] != self {
			continue
		}
		user, err1 := strconv.ParseInt(f[11], 10, 64)
		system, err2 := strconv.ParseInt(f[12], 10, 64)
		if err1 == nil && err2 == nil {
			sum += time.Duration(user+system) * (time.Second / hz)
		}
	}
	return sum
}

// BenchmarkPrograms times twenty programs that do little in one VM, and each in its
// own, in turn: "alone/together" is how many times as long these take.
func BenchmarkPrograms(b *testing.B) {
	l, err := setUp()
	if err != nil {
		b.Fatal(err)
	}
	for _, boot := range []Boot{BootCold, BootWarm} {
		b.Run(boot.String(), func(b *testing.B) {
			r, list := benchRunner(b, l.programsPayload(b, 5*time.Minute, slices.Repeat([]string{"pass"}, 20)...), 1, 1)
			r.Boot, r.QEMUDigest = boot, "bench"
			var took [2]time.Duration
			run := func(isolate bool) time.Duration {
				r.Isolate = isolate
				start := time.Now()
				results, err := r.Run(b.Context(), list)
				allPass(b, results, err)
				return time.Since(start)
			}
			run(false) // which saves a VM
			for b.Loop() {
				took[0] += run(false)
				took[1] += run(true)
			}
			b.ReportMetric(took[0].Seconds()/float64(b.N), "s-together")
			b.ReportMetric(took[1].Seconds()/float64(b.N), "s-alone")
			b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "alone/together")
		})
	}
}
