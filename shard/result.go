package shard

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// newResult starts a kernel's result.
func (r *run) newResult(j *job) report.Result {
	return report.Result{ID: j.entry.ID(), Digest: j.entry.Ref.Digest, Reproduce: r.reproduce(j.entry), Phases: map[string]int64{}}
}

// setResult puts what one VM said into a kernel's result.
func (r *run) setResult(k *report.Result, j *job, out outcome) {
	o := out.observed
	k.Verdict, k.Cause, k.Tests, k.Splats, k.TestsOnly = out.Verdict.Verdict, out.Cause, out.Tests, out.Splats, out.TestsOnly
	k.Programs, k.BPF = out.Programs, out.BPF
	if k.Verdict == report.NoBoot {
		k.Cause = r.noBootHint(j, k.Cause)
	}
	k.Running, k.Mounts, k.Modules = nil, nil, nil
	for _, n := range out.Running {
		k.Running = append(k.Running, report.OneLine(n, 500))
	}
	k.Phases = phases(o.Records)
	k.Boot, k.Machine = out.how, out.machine
	if out.how == bootedWarm {
		// The guest counts the boot that was saved.
		k.Phases["boot"] = o.Boot.Nanoseconds()
	}
	if out.saved > 0 {
		k.Phases["save"] = out.saved.Nanoseconds()
	}
	k.Phases["fetch"] = j.took.Nanoseconds()
	k.Phases["vm"] = o.Exit.Duration.Nanoseconds()
	r.keepFiles(k, o.Records)
	for _, rec := range o.Records {
		switch {
		case rec.Hello != nil:
			k.Release = report.OneLine(rec.Hello.Release, 200)
		case rec.Kernel != nil:
			k.Facts = guestFacts(j.facts, rec.Kernel)
		case rec.Module != nil && len(k.Modules) < maxModules:
			k.Modules = append(k.Modules, report.OneLine(rec.Module.Name+": "+rec.Module.Error, 200))
		case rec.Mount != nil && len(k.Mounts) < maxMounts:
			k.Mounts = append(k.Mounts, report.OneLine(rec.Mount.Target+": "+rec.Mount.Error, 200))
		}
	}
	if note := lsmNote(r.Payload, k.Facts); note != "" {
		k.Problems = append(k.Problems, report.OneLine(note, 500))
	}
	if note := loadedOnlyNote(k.Tests); note != "" {
		k.Problems = append(k.Problems, report.OneLine(note, 500))
	}
}

// loadedOnlyNote names the programs that were to be attached and lack something for
// that, as their tests say; "" if there is none.
func loadedOnlyNote(tests []report.Test) string {
	var names []string
	for _, t := range tests {
		if t.Loader != "" && t.Verdict == report.TestPass && strings.Contains("\n"+t.Output, "\nloaded only: ") {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s only loaded, not attached, as the tests say: %s", report.Count(len(names), "program"), report.List(names, 5, report.Text))
}

// How many modules and mounts a result names.
const (
	maxModules = 100
	maxMounts  = 100
)

// phases takes the times out of what the guest said.
func phases(records []wire.Record) map[string]int64 {
	p := map[string]int64{}
	for _, r := range records {
		switch {
		case r.Hello != nil:
			p["boot"] = r.At.Nanoseconds()
		case r.Phase != nil && len(p) < 16 && r.Phase.Duration >= 0 && r.Phase.Duration < 24*time.Hour:
			p[report.OneLine(r.Phase.Name, 32)] = r.Phase.Duration.Nanoseconds()
		case r.Exit != nil:
			p["payload"] += r.Exit.Duration.Nanoseconds() // of each program
		}
	}
	return p
}

// noBootHint adds to the cause of a kernel that did not boot what its
// configuration says about that, where it says something.
func (r *run) noBootHint(j *job, c *report.Cause) *report.Cause {
	config, err := j.image.ReadConfig(j.boot)
	if err != nil || c == nil {
		return c // it is not known, which explains nothing
	}
	var words []string
	for _, o := range config.NoBoot(r.Arch.Name) {
		words = append(words, o.What)
	}
	if len(words) == 0 {
		return c
	}
	const most = 3
	if n := len(words) - most; n > 0 {
		words = append(words[:most], "and more")
	}
	hinted := *c
	hinted.Title = report.OneLine(c.Title, 200) + "; in its config " + strings.Join(words, ", ") + ": see doctor KERNEL"
	return &hinted
}

// headConsole puts what is known of a kernel that did not pass at the head of
// its console, for those who have nothing but that file.
func headConsole(path string, k report.Result) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "bpf-kernel-check: %s: %s: %s\n", k.ID, k.Verdict, k.Cause.Title)
	if m := breakingDeps(k); len(m) > 0 {
		fmt.Fprintf(&b, "bpf-kernel-check: preflight: will not load or attach here: %s\n", report.OneLine(strings.Join(m, "; "), 4000))
	}
	if m := missingTargets(k.Facts); len(m) > 0 {
		fmt.Fprintf(&b, "bpf-kernel-check: the payload names what is not in this kernel's BTF: %s\n", report.OneLine(strings.Join(m, ", "), 4000))
	}
	if k.Facts != nil && len(k.Facts.Config) > 0 {
		var set []string
		for _, o := range wire.ConfigOptions() {
			if v := k.Facts.Config[o]; v != "" {
				set = append(set, o+"="+v)
			}
		}
		fmt.Fprintf(&b, "bpf-kernel-check: config: %s\n", strings.Join(set, " "))
	}
	b.WriteString("\n")
	console, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the console: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(tmp, append(b.Bytes(), console...), 0o644); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write the console's head: %w", err)
	}
	return os.Rename(tmp, path)
}
