package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/merge"
)

// recall returns the latest result of a kernel from result directories. Without
// an id it is the one kernel that failed.
func (c *command) recall(dirs []string, id string) (*report.Result, error) {
	found, err := merge.Collect(dirs...)
	var input *merge.InputError
	if errors.As(err, &input) {
		return nil, usagef("--from: %w", err)
	}
	if err != nil {
		return nil, err
	}
	defer found.Close()
	warned := map[string]bool{} // each search meets the same unreadable files
	warn := func(problem string) {
		if !warned[problem] {
			warned[problem] = true
			c.warn("--from: " + problem)
		}
	}
	for _, p := range found.Problems {
		warn(p)
	}
	latest := map[string]int{} // attempt, by id
	byID := map[string]*report.Result{}
	var order []string
	for _, f := range found.Files {
		if f.Damaged {
			c.warn(fmt.Sprintf("--from: %s: %s", f.Name, f.Problem))
		}
		for i := range f.Kernels {
			k := &f.Kernels[i]
			if byID[k.ID] == nil {
				order = append(order, k.ID)
			} else if f.Plan.Attempt < latest[k.ID] {
				continue
			}
			byID[k.ID], latest[k.ID] = k, f.Plan.Attempt
		}
	}
	if len(found.Files) == 0 { // then look for a merged report
		for _, dir := range dirs {
			m, err := report.FindReport(dir)
			if err != nil {
				warn(fmt.Sprintf("%s: %v", dir, err))
			}
			if m == nil {
				continue
			}
			for i := range m.Kernels {
				k := &m.Kernels[i]
				if byID[k.ID] == nil {
					order = append(order, k.ID)
				}
				byID[k.ID] = k
			}
		}
	}
	where := strings.Join(dirs, " ")
	if len(order) == 0 {
		return nil, usagef("--from: no results in %s: want a results directory with its shard file, or the artifact as it was downloaded", where)
	}
	var failed []string
	for _, id := range order {
		if byID[id].Verdict != report.Pass {
			failed = append(failed, id)
		}
	}
	switch {
	case id != "" && byID[id] == nil:
		return nil, usagef("--from: no kernel %q in %s: %s", id, where, choice(failed, order))
	case id == "" && len(failed) != 1:
		return nil, usagef("--from: %d of %s failed in %s: %s", len(failed), count(len(order), "kernel"), where, choice(failed, order))
	case id == "":
		id = failed[0]
	}
	return byID[id], nil
}

// choice lists some of the failed kernels, or of all if none failed.
func choice(failed, all []string) string {
	if len(failed) == 0 {
		return "name one of " + someOf(all)
	}
	return "name one of those that failed: " + someOf(failed)
}

// restore sets the options that the run had and the command line does not.
func (o *debugOptions) restore(k *report.Result, getenv func(string) string, warn func(string)) error {
	if k.Reproduce == "" {
		if len(o.kernels) == 0 {
			return usagef("--from: the result of %s does not say how it came about: name its source with --kernels", k.ID)
		}
		return nil
	}
	words, err := report.CommandWords(k.Reproduce) // hostile, although it was checked when it was read
	if err != nil {
		return usagef("--from: %w", err)
	}
	var past debugOptions
	cmd := &cobra.Command{}
	past.add(cmd)
	if err := cmd.ParseFlags(words); err != nil {
		return usagef("--from: the command of %s: %w", k.ID, err)
	}
	if len(o.kernels) == 0 {
		o.kernels = past.kernels
	}
	if o.memory == 0 || past.memory > o.memory {
		o.memory = past.memory
	}
	if o.noPayload {
		return nil
	}
	now, was := &o.payload, past.payload
	given := func(flag string) bool { return o.given != nil && o.given(flag) }
	if !now.named() {
		for _, t := range was.tests {
			if strings.Contains(t, report.Hidden) {
				return usagef("--from: the results do not have all arguments of --test %q: give --test", t)
			}
		}
		if strings.Contains(was.golang.args, report.Hidden) {
			return usagef("--from: the results do not have all arguments of --go-args %q: give --go and --go-args", was.golang.args)
		}
		now.eventsTrace, now.tests, now.golang, now.objects = was.eventsTrace, was.tests, was.golang, was.objects
		now.attach, now.unsupported, now.require = was.attach || now.attach, was.unsupported, was.require
		now.loading.restore(was.loading, given)
	}
	if now.workdir == "/" && now.hasTest() {
		now.workdir = was.workdir
	}
	if now.rootfs == "" && !now.hostRoot {
		now.rootfs = was.rootfs
	}
	if len(now.files) == 0 {
		now.files = was.files
	}
	if len(now.modules) == 0 {
		now.modules = was.modules
	}
	if !given("cgroup") {
		now.cgroup = was.cgroup
	}
	if !given("cpus") {
		now.cpus = was.cpus
	}
	if len(now.params) == 0 {
		now.params = was.params
	}
	if !given("modules") {
		now.onDemand = was.onDemand
	}
	if len(now.libraryPath) == 0 {
		now.libraryPath = was.libraryPath
	}
	for _, v := range slices.Concat([]string{now.rootfs}, now.modules, now.params) {
		if strings.Contains(v, report.Hidden) {
			return usagef("--from: the results do not have all of %q: give --rootfs, --module or --append", v)
		}
	}
	hasEnv := map[string]bool{}
	for _, kv := range now.env {
		name, _, _ := strings.Cut(kv, "=")
		hasEnv[name] = true
	}
	for _, name := range was.env {
		name, _, _ := strings.Cut(name, "=")
		if hasEnv[name] {
			continue
		}
		if v := getenv(name); v != "" {
			now.env = append(now.env, name+"="+v)
			continue
		}
		warn(fmt.Sprintf("the run set %s, whose value is not in the results: give --env %s=VALUE", name, name))
	}
	return nil
}
