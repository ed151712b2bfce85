package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/report/expect"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// limitOptions are the flags of run for time limits, repeats and expectations.
type limitOptions struct {
	boot, silence, test, payload, total time.Duration
	repeat, reruns                      int
	flaky                               string
	expect                              []string
	stale                               string

	flags *pflag.FlagSet
	read  *expect.List // the files of expect; nil without
}

// Default limits, on KVM.
const (
	defaultBoot    = 30 * time.Second
	defaultSilence = 30 * time.Second
	defaultTest    = 2 * time.Minute
	defaultPayload = 5 * time.Minute
)

func (o *limitOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	o.flags = f
	f.DurationVar(&o.boot, "boot-timeout", defaultBoot, "limit for a kernel to start init; this and the other limits of a VM are tripled under TCG")
	f.DurationVar(&o.silence, "silence-timeout", defaultSilence, "limit for a guest without a sign of life, at least 15s; 0 for none")
	f.DurationVar(&o.test, "test-timeout", defaultTest, "limit for each test that the payload names; 0 for none")
	f.DurationVar(&o.payload, "timeout", defaultPayload, "limit for the payload in each VM")
	f.DurationVar(&o.total, "timeout-total", 0, "end the run after this time, with reports; other kernels are missing; 0 for no limit")
	f.IntVar(&o.repeat, "repeat", 1, "run each kernel `N` times, to find flaky tests")
	f.IntVar(&o.reruns, "rerun-failed-tests", 0, "run a kernel's failed tests, and no others, up to `N` times again, each time after a new boot; for programs of Go, Rust and GoogleTest")
	f.StringVar(&o.flaky, "flaky", "fail", "`fail or ok` when a test failed and passes in such a rerun")
	f.StringArrayVar(&o.expect, "expected-failures", nil, "YAML `FILE` of expected failures, with reasons; repeatable")
	f.StringVar(&o.stale, "stale-expectations", "fail", "`fail or warn` when an expected failure passes or its entry has expired")
}

// validate checks each limit and their order: of two limits that a hang would
// reach, the one whose message says more must come first.
func (o *limitOptions) validate() error {
	for _, x := range []struct {
		flag string
		ok   bool
		want string
		got  any
	}{
		{"--timeout", o.payload >= time.Second && o.payload <= maxLimit, "at least 1s and at most 24h", o.payload},
		{"--boot-timeout", o.boot >= time.Second && o.boot <= maxLimit, "at least 1s and at most 24h", o.boot},
		{"--test-timeout", o.test == 0 || o.test >= time.Second && o.test <= maxLimit, "at least 1s and at most 24h, or 0", o.test},
		{"--silence-timeout", o.silence == 0 || o.silence >= vm.MinSilence && o.silence <= maxLimit, fmt.Sprintf("at least %v and at most 24h, or 0", vm.MinSilence), o.silence},
		{"--timeout-total", o.total == 0 || o.total >= minTotal, fmt.Sprintf("at least %v, or 0", minTotal), o.total},
		{"--repeat", o.repeat >= 1 && o.repeat <= shard.MaxRepeats, fmt.Sprintf("1 to %d", shard.MaxRepeats), o.repeat},
		{"--rerun-failed-tests", o.reruns >= 0 && o.reruns <= shard.MaxReruns, fmt.Sprintf("0 to %d", shard.MaxReruns), o.reruns},
		{"--flaky", o.flaky == "fail" || o.flaky == "ok", "fail or ok", fmt.Sprintf("%q", o.flaky)},
	} {
		if !x.ok {
			return usagef("%s is %v: want %s", x.flag, x.got, x.want)
		}
	}
	if !slices.Contains([]string{"fail", "warn"}, o.stale) {
		return usagef("--stale-expectations is %q: want fail or warn", o.stale)
	}
	switch {
	case o.flaky == "ok" && o.reruns == 0:
		return usagef("--flaky ok goes with --rerun-failed-tests: give both")
	case o.reruns > 0 && o.repeat > 1:
		return usagef("--rerun-failed-tests and --repeat exclude each other: --repeat runs all tests again, and finds flaky ones by itself")
	}
	if o.stale != "fail" && len(o.expect) == 0 {
		return usagef("--stale-expectations goes with --expected-failures: give both")
	}
	// A default gives way to a limit that was given.
	if !o.given("test-timeout") {
		o.test = min(o.test, o.payload)
	}
	if !o.given("silence-timeout") {
		o.silence = min(o.silence, max(o.payload, vm.MinSilence))
	}
	switch {
	case o.test > o.payload:
		return usagef("--test-timeout %v is longer than --timeout %v, which is for all tests together: want it at most as long", o.test, o.payload)
	case o.given("silence-timeout") && o.given("timeout") && o.silence > o.payload:
		return usagef("--silence-timeout %v is longer than --timeout %v, and would never be reached: want it at most as long", o.silence, o.payload)
	case o.total > 0 && o.given("timeout") && o.payload > o.total:
		return usagef("--timeout %v is longer than --timeout-total %v, which is for the whole run: want it at most as long", o.payload, o.total)
	case o.total > 0 && o.given("boot-timeout") && o.boot > o.total:
		return usagef("--boot-timeout %v is longer than --timeout-total %v, which is for the whole run: want it at most as long", o.boot, o.total)
	}
	var err error
	o.read, err = o.expectations()
	return err
}

const (
	maxLimit = 24 * time.Hour
	minTotal = 5 * time.Second
)

func (o *limitOptions) given(flag string) bool { return o.flags != nil && o.flags.Changed(flag) }

// apply sets the limits of a runner.
func (o *limitOptions) apply(r *shard.Runner, accel qemu.Accel) {
	n := vm.Slowness(accel)
	r.Limits = vm.DefaultLimits(accel, n*o.boot, n*o.payload)
	r.Limits.Silence, r.Limits.Test = n*o.silence, n*o.test
	job := &r.Payload.Job
	job.Timeout, job.TestTimeout = n*o.payload, n*o.test
	job.Programs = slices.Clone(job.Programs)
	for i := range job.Programs {
		p := &job.Programs[i]
		if p.Timeout > 0 && p.TestTimeout == 0 { // a default gives way
			p.TestTimeout = min(o.test, p.Timeout)
		}
		p.Timeout, p.TestTimeout = n*p.Timeout, n*p.TestTimeout
	}
	r.Repeats, r.Reruns, r.FlakyOK = o.repeat, o.reruns, o.flaky == "ok"
}

// within returns a context that ends early enough to end the VMs and write
// everything within --timeout-total.
func (o *limitOptions) within(ctx context.Context, started time.Time) (context.Context, context.CancelFunc) {
	if o.total == 0 {
		return ctx, func() {}
	}
	writing := min(max(o.total/20, 2*time.Second), 30*time.Second)
	return context.WithDeadlineCause(ctx, started.Add(o.total-writing), &shard.TimeUpError{Limit: o.total})
}

// openList opens a file that a flag names.
func openList(name string) (*os.File, error) {
	// A named pipe that nobody writes to is empty, instead of waiting for a writer.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err == nil && st.IsDir() {
		f.Close()
		return nil, fmt.Errorf("%q is a directory", name)
	}
	return f, nil
}

// expectations reads the files of expected failures; nil without files.
func (o *limitOptions) expectations() (*expect.List, error) {
	if len(o.expect) == 0 {
		return nil, nil
	}
	x := &expect.List{Lenient: o.stale == "warn"}
	for _, name := range o.expect {
		f, err := openList(name)
		if err != nil {
			return nil, usagef("--expected-failures: %w: give a YAML file", err)
		}
		entries, err := expect.Read(f, name)
		f.Close()
		if err != nil {
			return nil, usagef("--expected-failures: %w", err)
		}
		x.Entries = append(x.Entries, entries...)
	}
	return x, nil
}
