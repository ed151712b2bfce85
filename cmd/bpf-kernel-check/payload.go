package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// payloadOptions are the flags of run that say what to run.
type payloadOptions struct {
	eventsTrace string
	test        string
	objects     []string
	attach      bool
	unsupported string
	require     []string
	files       []string
	env         []string
	workdir     string
	modules     []string
	onDemand    string
	rootfs      string
	hostRoot    bool
}

func (o *payloadOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var((*once)(&o.eventsTrace), "events-trace", "check the static EventsTrace binary at `PATH`")
	f.Var((*once)(&o.test), "test", "run a static test program with its arguments, as one `'PATH ARGS...'`")
	f.StringArrayVar(&o.objects, "objects", nil, "load each program of the BPF objects that match `GLOB`; repeatable")
	f.BoolVar(&o.attach, "attach", false, "with --objects: attach each program as well, if its type allows it")
	f.StringVar(&o.unsupported, "unsupported", wire.TestFail, "with --objects: `fail or skip` what a kernel does not support")
	f.StringArrayVar(&o.require, "require", nil, "with --events-trace: fail instead of skipping `TEST`; repeatable")
	f.StringArrayVar(&o.files, "file", nil, "put a file or directory into the guest, as `SRC[:DST]`; DST is /<base of SRC> by default; repeatable")
	f.StringArrayVar(&o.env, "env", nil, "set a variable for the payload, as `K=V`; K alone takes its value from the environment; repeatable")
	f.StringVar(&o.workdir, "workdir", "/", "with --test: the program's working `DIR` in the guest")
	f.StringArrayVar(&o.modules, "module", nil, "load the kernel module `NAME` and its dependencies first, if the kernel came with it; or your own, as FILE.ko[,PARAM=VALUE...]; repeatable")
	f.StringVar(&o.onDemand, "modules", string(guest.OnDemandDefault), "bring a `default` set of the kernel's modules, all or none, for what the payload asks for; default is none with --events-trace and --objects")
	f.Var((*once)(&o.rootfs), "rootfs", "the guest's root file system: `SRC` is a directory, a tar, an image or packages of a distribution; --test finds its program there")
	f.BoolVar(&o.hostRoot, "host-root", false, "the guest's root file system is this machine's, read-only below a writable layer; refused for pull requests of forks")
}

// once is a flag that may be given only once: of two payloads, one would silently
// not run.
type once string

func (o *once) String() string { return string(*o) }
func (o *once) Type() string   { return "string" }

func (o *once) Set(s string) error {
	switch {
	case *o != "":
		return errors.New("it is given twice: want one, and a run of its own for the other")
	case s == "":
		return errors.New("it is empty: want a path")
	}
	*o = once(s)
	return nil
}

// takeEnv takes the values of names without one from the environment, as docker
// does. Those that are empty there are left out.
func (o *payloadOptions) takeEnv(getenv func(string) string, warn func(string)) {
	var env []string
	for _, kv := range o.env {
		value := ""
		if !strings.Contains(kv, "=") && guest.CheckEnv(kv+"=") == nil {
			if value = getenv(kv); value == "" {
				warn(fmt.Sprintf("--env %s: it is not set here: the payload runs without it", kv))
				continue
			}
			kv += "=" + value
		}
		env = append(env, kv)
	}
	o.env = env
}

// validate checks the flags without looking at files.
func (o *payloadOptions) validate() error {
	n := 0
	for _, given := range []bool{o.eventsTrace != "", o.test != "", len(o.objects) > 0} {
		if given {
			n++
		}
	}
	switch {
	case n == 0:
		return usagef("nothing to run: give --events-trace PATH or --test 'PATH ARGS...' or --objects 'GLOB'")
	case n > 1:
		return usagef("--events-trace, --test and --objects exclude each other: give one of them")
	case o.rootfs != "" && o.hostRoot:
		return usagef("--rootfs and --host-root exclude each other: give one of them")
	case o.unsupported != wire.TestFail && o.unsupported != wire.TestSkip:
		return usagef("--unsupported is %q: want fail or skip", o.unsupported)
	case !slices.Contains([]guest.OnDemand{"", guest.OnDemandDefault, guest.OnDemandAll, guest.OnDemandNone}, guest.OnDemand(o.onDemand)):
		return usagef("--modules is %q: want default, all or none", o.onDemand)
	case o.eventsTrace == "" && len(o.require) > 0:
		return usagef("--require goes with --events-trace: give both")
	case o.test == "" && o.workdir != "/":
		return usagef("--workdir goes with --test: give both")
	case len(o.objects) == 0 && o.attach:
		return usagef("--attach goes with --objects: give both")
	case len(o.objects) == 0 && o.unsupported != wire.TestFail:
		return usagef("--unsupported goes with --objects: give both")
	}
	return nil
}

// namedPayload is a payload with its name for people.
type namedPayload struct {
	guest.Payload
	arch string
	name string
	path string // of the program
	root userRoot

	flags []string // of debug, for the same payload; see payloadOptions.flags
}

// readPayload reads and checks the payload's files. arch is the --arch that was
// given, if any.
func (c *command) readPayload(ctx context.Context, o payloadOptions, arch string, timeout time.Duration) (namedPayload, error) {
	var p namedPayload
	if o.workdir != "" {
		o.workdir = path.Clean(o.workdir)
	}
	if err := o.validate(); err != nil {
		return p, err
	}
	root, err := c.openRoot(ctx, &o, arch)
	if err != nil {
		return p, err
	}
	if p, err = readProgram(ctx, o, root, arch, timeout); err != nil {
		return p, err
	}
	p.flags, p.root = o.flags(), root
	if err := o.addExtras(&p); err != nil {
		return p, err
	}
	if !p.HasDir(o.workdir) && !root.hasDir(o.workdir) {
		return p, usagef("--workdir %q: the guest has no such directory: want an absolute path that a --file is put under", o.workdir)
	}
	return p, nil
}

// addExtras adds environment, modules and files to a payload, or to a session
// without one.
func (o *payloadOptions) addExtras(p *namedPayload) error {
	for _, kv := range o.env {
		if err := guest.CheckEnv(kv); err != nil {
			return usagef("--env %w", err)
		}
	}
	p.Job.Env = o.env
	for _, m := range o.modules {
		if isOwnModule(m) {
			if err := addOwnModule(p, m); err != nil {
				return usagef("--module %w", err)
			}
			continue
		}
		if err := guest.CheckModule(m); err != nil {
			return usagef("--module %w", err)
		}
		p.Modules, p.Job.Modules = append(p.Modules, m), append(p.Job.Modules, m)
	}
	if o.onDemand != "" && o.onDemand != string(guest.OnDemandDefault) {
		p.OnDemand = guest.OnDemand(o.onDemand)
	}
	for _, spec := range o.files {
		if err := p.AddFile(spec); err != nil {
			return usagef("--file %w", err)
		}
	}
	return nil
}

func readProgram(ctx context.Context, o payloadOptions, root userRoot, arch string, timeout time.Duration) (p namedPayload, err error) {
	switch {
	case o.eventsTrace != "":
		require, err := requireFlags(o.require)
		if err != nil {
			return p, err
		}
		if p.arch, err = programArch(o.eventsTrace, guest.ExecutableArch(o.eventsTrace), arch); err != nil {
			return p, err
		}
		b, err := guest.ReadExecutable(o.eventsTrace, p.arch, guest.EventsTraceHint)
		if err != nil {
			return p, err
		}
		p.name, p.path = "EventsTrace "+o.eventsTrace, o.eventsTrace
		p.Payload, err = guest.EventsTracePayload(ctx, p.arch, b, timeout, require...)
		return p, err
	case o.test != "":
		words, err := shellquote.Split(o.test)
		if err != nil || len(words) == 0 {
			return p, usagef("--test %q: want a program and its arguments, quoted as for a shell", o.test)
		}
		if root.given() {
			p, err = root.payload(words, o.workdir, arch, timeout)
			p.name = o.shownTest()
			return p, err
		}
		if err := noSuchProgram(words[0]); err != nil {
			return p, err
		}
		if p.arch, err = programArch(words[0], guest.ExecutableArch(words[0]), arch); err != nil {
			return p, err
		}
		p.name, p.path = o.shownTest(), words[0]
		p.Payload, err = guest.TestPayload(ctx, words[0], words[1:], o.workdir, p.arch, timeout)
		return p, err
	default:
		paths, err := guest.FindObjects(o.objects)
		if err != nil {
			return p, err
		}
		// An object fits every architecture: take this machine's by default.
		p.arch = cmp.Or(arch, runtime.GOARCH)
		p.name, p.path = strings.Join(o.objects, " "), paths[0]
		p.Payload, err = guest.ObjectsPayload(ctx, p.arch, paths, o.attach, o.unsupported, timeout)
		return p, err
	}
}

// programArch returns the architecture of a program, is, which must be the one
// asked for.
func programArch(path, is, asked string) (string, error) {
	if is != "" && asked != "" && is != asked {
		return "", &guest.PayloadError{Path: path, Reason: fmt.Sprintf("is built for %s, and --arch is %s: build it for %s (for Go with GOARCH=%s), or leave --arch away", is, asked, asked, asked)}
	}
	return cmp.Or(is, asked, runtime.GOARCH), nil
}

// requireFlags returns testrunner's flags for tests that must not be skipped.
func requireFlags(tests []string) ([]string, error) {
	var names []string
	for _, t := range check.Tests() {
		names = append(names, t.Name)
	}
	var flags []string
	for _, t := range tests {
		if !slices.Contains(names, t) {
			return nil, usagef("--require %q: want one of %s", t, strings.Join(names, ", "))
		}
		flags = append(flags, "--require", t)
	}
	return flags, nil
}
