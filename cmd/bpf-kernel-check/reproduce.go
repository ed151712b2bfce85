package main

import (
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// flags returns the flags of debug for the same payload. Environment variables
// are names only: results are published, and values may be secrets.
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
	if o.test != "" {
		add("--test", o.test)
	}
	add("--objects", o.objects...)
	if o.attach {
		words = append(words, "--attach")
	}
	if o.unsupported != wire.TestFail && o.unsupported != "" {
		add("--unsupported", o.unsupported)
	}
	add("--require", o.require...)
	add("--file", o.files...)
	for _, kv := range o.env {
		name, _, _ := strings.Cut(kv, "=")
		add("--env", name)
	}
	if o.workdir != "/" && o.workdir != "" {
		add("--workdir", o.workdir)
	}
	add("--module", o.modules...)
	return words
}

// memoryFlags returns the flags of debug for the same memory.
func (o runOptions) memoryFlags() []string {
	if o.memory == qemu.DefaultMemory {
		return nil
	}
	return []string{"--memory", strconv.Itoa(o.memory)}
}
