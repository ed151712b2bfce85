package main

import (
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// shownModule is a value of --module without the secrets among its parameters.
func shownModule(spec string) string {
	words := report.RedactWords(strings.Split(spec, ","))
	for i, w := range words[1:] {
		if strings.HasSuffix(words[i], report.Hidden) && !strings.Contains(w, "=") { // another of its values
			words[i+1] = report.Hidden
		}
	}
	return strings.Join(words, ",")
}

// flags returns the flags of debug for the same payload, for results, which are
// published. Values may be secrets: environment variables are names only.
func (o payloadOptions) flags() []string {
	var words []string
	add := func(flag string, values ...string) {
		for _, v := range values {
			words = append(words, flag, v)
		}
	}
	if o.eventsTrace != "" {
		add("--events-trace", o.eventsTrace)
	}
	specs := o.programs
	if specs == nil {
		for _, text := range o.tests {
			s, _ := parseTest(text) // whose error ends the run
			specs = append(specs, s)
		}
	}
	for _, s := range specs {
		add("--test", s.shown())
	}
	words = append(words, o.golang.flags()...)
	add("--objects", o.objects...)
	if o.attach {
		words = append(words, "--attach")
	}
	if o.unsupported != wire.TestFail && o.unsupported != "" {
		add("--unsupported", o.unsupported)
	}
	words = append(words, o.loading.flags()...)
	add("--require", o.require...)
	add("--file", o.files...)
	for _, kv := range o.env {
		name, _, _ := strings.Cut(kv, "=")
		add("--env", name)
	}
	if o.workdir != "/" && o.workdir != "" {
		add("--workdir", o.workdir)
	}
	for _, m := range o.modules {
		add("--module", shownModule(m))
	}
	if o.rootfs != "" {
		add("--rootfs", report.Redact(o.rootfs))
	}
	if o.hostRoot {
		words = append(words, "--host-root")
	}
	if o.cgroup == "v1" {
		add("--cgroup", o.cgroup)
	}
	if o.cpus > 1 {
		add("--cpus", strconv.Itoa(o.cpus))
	}
	for _, line := range o.params {
		params, _ := qemu.SplitParams([]string{line}) // whose error ends the run
		add("--append", strings.Join(report.RedactWords(params), " "))
	}
	if o.onDemand != "" && o.onDemand != string(guest.OnDemandDefault) {
		add("--modules", o.onDemand)
	}
	add("--library-path", o.libraryPath...)
	add("--junit", o.junit...)
	if o.framework != "" {
		add("--framework", o.framework)
	}
	add("--collect", o.collect...)
	if o.cover {
		words = append(words, "--cover")
	}
	if o.collectCores {
		words = append(words, "--collect-cores")
	}
	return words
}

// memoryFlags returns the flags of debug for the same memory.
func (o runOptions) memoryFlags() []string {
	if o.memory == qemu.DefaultMemory {
		return nil
	}
	return []string{"--memory", strconv.Itoa(o.memory)}
}
