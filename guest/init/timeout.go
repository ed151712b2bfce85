package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// How long a payload has to end whose time is up, at a scale of 1.
const (
	termGrace = 4 * time.Second // after SIGTERM, to report what it has: a Go program's goroutines first
	killGrace = 2 * time.Second // after SIGKILL; only the kernel can make it longer
)

// scaleOf reads the factor for the job's limits from a kernel command line.
func scaleOf(cmdline string) time.Duration {
	n, err := strconv.Atoi(param(cmdline, wire.ParamScale))
	if err != nil || n < 1 || n > wire.MaxScale {
		return 1
	}
	return time.Duration(n)
}

// scaled returns the job with limits for a machine that is slower by a factor.
func scaled(job wire.Job, scale time.Duration) wire.Job {
	job.Timeout *= scale
	job.TestTimeout *= scale
	if job.TestTimeout > 0 {
		job.Env = append([]string{wire.TestTimeoutEnv + "=" + job.TestTimeout.String()}, job.Env...)
	}
	return job
}

// alive tells the host that init runs, until stop is called: what goes silent
// then is the kernel, not a payload that has nothing to say.
func alive(r *reporter) (stop func()) {
	tick := time.NewTicker(wire.AlivePeriod)
	done := make(chan struct{})
	var signs sync.WaitGroup
	signs.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.send(wire.Record{Type: wire.TypeAlive})
			}
		}
	})
	return func() {
		tick.Stop()
		close(done)
		signs.Wait()
	}
}

// showHang prints what the payload's processes did when its time was up, and what
// waits in the kernel still.
func showHang(con *serialConsole, processes string) {
	con.logf("its processes:\n%s", processes)
	// w: tasks that wait in the kernel; l: what every processor is at, of
	// which a single one is at this.
	keys := []string{"w", "l"}
	if runtime.NumCPU() == 1 {
		keys = keys[:1]
	}
	for _, key := range keys {
		if err := os.WriteFile("/proc/sysrq-trigger", []byte(key), 0); err != nil {
			con.logf("ask the kernel what it is doing: %v", err)
			return
		}
	}
	con.drain()
}

// describeTimeout says in one line whose time was up.
func describeTimeout(e wire.Exit, previous string) string {
	var b strings.Builder
	switch {
	case e.OfTest && len(e.Tests) > 0:
		fmt.Fprintf(&b, "%s did not end within %v", e.Tests[0], e.Limit)
	default:
		fmt.Fprintf(&b, "the payload did not end within %v", e.Limit)
		if len(e.Tests) > 0 {
			fmt.Fprintf(&b, "; %s was running", e.Tests[0])
		} else if previous != "" {
			fmt.Fprintf(&b, "; the last test that ended is %s", previous)
		}
	}
	if e.Stuck {
		b.WriteString("; SIGKILL does not end it: it hangs in the kernel")
	}
	return b.String()
}

// endPayload has a payload whose time is up end: it may report first. It says
// whether it has ended.
func endPayload[T any](pid int, ended <-chan T, scale time.Duration) bool {
	_ = unix.Kill(pid, unix.SIGTERM)
	select {
	case <-ended:
		return true
	case <-time.After(termGrace * scale):
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	select {
	case <-ended:
		return true
	case <-time.After(killGrace * scale):
		return false
	}
}

// reportHung reports the tests that a timeout has cut short and that the
// payload itself could not report.
func reportHung(e wire.Exit, run *running, r *reporter) {
	for i, name := range e.Tests {
		if run.reported(name) {
			continue
		}
		t := wire.Test{Name: name, Verdict: wire.TestFail, Duration: run.ran(name), Output: "it ran when the payload's time was up"}
		if i == 0 && e.OfTest {
			t.Output = fmt.Sprintf("it did not end within %v", e.Limit)
		}
		if e.Stuck {
			t.Output += "; SIGKILL does not end it: it hangs in the kernel"
		}
		r.send(wire.Record{Type: wire.TypeTest, Test: &t})
	}
}
