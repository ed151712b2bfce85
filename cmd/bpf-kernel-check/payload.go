package main

import (
	"cmp"
	"context"
	"runtime"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
)

// payloadOptions are the flags that say what runs in the guests.
type payloadOptions struct {
	eventsTrace string
	test        string
	files       []string
	env         []string
}

func (o *payloadOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.eventsTrace, "events-trace", "", "static EventsTrace binary at `PATH` to check")
	f.StringVar(&o.test, "test", "", "static test program and its arguments, as one `'PATH ARGS...'`")
	f.StringArrayVar(&o.files, "file", nil, "file or directory to put into the guest, as `SRC[:DST]`; DST is /<base of SRC> unless given; repeatable")
	f.StringArrayVar(&o.env, "env", nil, "environment variable of the payload, as `K=V`; repeatable")
}

// namedPayload is a payload, and what people call it.
type namedPayload struct {
	guest.Payload
	arch string
	name string
	path string // of the program
}

// readPayload checks the payload's files before anything else happens.
func readPayload(ctx context.Context, o payloadOptions, timeout time.Duration) (namedPayload, error) {
	var p namedPayload
	for _, kv := range o.env {
		if err := guest.CheckEnv(kv); err != nil {
			return p, usagef("--env %w", err)
		}
	}
	p, err := readProgram(ctx, o, timeout)
	if err != nil {
		return p, err
	}
	p.Job.Env = o.env
	for _, spec := range o.files {
		if err := p.AddFile(spec); err != nil {
			return p, usagef("--file %w", err)
		}
	}
	return p, nil
}

func readProgram(ctx context.Context, o payloadOptions, timeout time.Duration) (p namedPayload, err error) {
	switch {
	case o.eventsTrace != "" && o.test != "":
		return p, usagef("--events-trace and --test exclude each other: give one of them")
	case o.eventsTrace != "":
		p.arch = cmp.Or(guest.ExecutableArch(o.eventsTrace), runtime.GOARCH)
		b, err := guest.ReadExecutable(o.eventsTrace, p.arch, guest.EventsTraceHint)
		if err != nil {
			return p, err
		}
		p.name, p.path = "EventsTrace "+o.eventsTrace, o.eventsTrace
		p.Payload, err = guest.EventsTracePayload(ctx, p.arch, b, timeout)
		return p, err
	case o.test != "":
		words, err := shellquote.Split(o.test)
		if err != nil || len(words) == 0 {
			return p, usagef("--test %q: want a program and its arguments, quoted as for a shell", o.test)
		}
		p.arch = cmp.Or(guest.ExecutableArch(words[0]), runtime.GOARCH)
		p.name, p.path = o.test, words[0]
		p.Payload, err = guest.TestPayload(ctx, words[0], words[1:], p.arch, timeout)
		return p, err
	default:
		return p, usagef("nothing to run: give --events-trace PATH or --test 'PATH ARGS...'")
	}
}
