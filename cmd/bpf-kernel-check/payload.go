package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/testrunner/check"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// payloadOptions are the flags of run that say what to run.
type payloadOptions struct {
	eventsTrace string
	golang      goOptions
	tests       []string
	testsFile   string
	objects     []string
	attach      bool
	unsupported string
	loading     loading
	require     []string
	files       []string
	env         []string
	workdir     string
	modules     []string
	rootfs      string
	hostRoot    bool
	cgroup      string
	cpus        int
	params      []string // further kernel parameters
	onDemand    string
	libraryPath []string

	junit     []string
	framework string

	collect      []string
	cover        bool
	collectCores bool

	programs []testSpec // of tests and testsFile, set by readPayload
}

func (o *payloadOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Var((*once)(&o.eventsTrace), "events-trace", "check the EventsTrace binary at `PATH`")
	f.StringArrayVar(&o.tests, "test", nil, "run a test program with its arguments, as one `'PATH ARGS...'`, or as '[name=NAME] [dir=DIR] [env=K=V]... [timeout=TIME] [test-timeout=TIME] [framework=NAME] [junit=GLOB]... -- PATH ARGS...'; repeatable: they run one after the other")
	f.StringVar(&o.testsFile, "tests", "", "run the test programs in `FILE`, a value of --test on each line")
	o.golang.add(cmd)
	f.StringArrayVar(&o.objects, "objects", nil, "load each program of the BPF objects that match `GLOB`; repeatable")
	f.BoolVar(&o.attach, "attach", false, "with --objects: attach each program as well, if its type allows it")
	f.StringVar(&o.unsupported, "unsupported", wire.TestFail, "with --objects: `fail or skip` what a kernel does not support")
	o.loading.add(f)
	f.StringArrayVar(&o.require, "require", nil, "with --events-trace: fail instead of skipping `TEST`; repeatable")
	f.StringArrayVar(&o.files, "file", nil, "put a file or directory into the guest, as `SRC[:DST]`; DST is /<base of SRC> by default; repeatable")
	f.StringArrayVar(&o.env, "env", nil, "set a variable for the payload, as `K=V`; K alone takes its value from the environment; repeatable")
	f.StringVar(&o.workdir, "workdir", "/", "with --test: the program's working `DIR` in the guest")
	f.StringArrayVar(&o.modules, "module", nil, "load the kernel module `NAME` and its dependencies first, if the kernel came with it; or your own, as FILE.ko[,PARAM=VALUE...]; repeatable")
	f.StringVar(&o.onDemand, "modules", string(guest.OnDemandDefault), "bring a `default` set of the kernel's modules, all or none, for what the payload asks for; by default none with --events-trace, and with --objects those that attaching takes")
	f.Var((*once)(&o.rootfs), "rootfs", "the guest's root file system: `SRC` is a directory, a tar, an image or packages of a distribution; --test finds its program there")
	f.BoolVar(&o.hostRoot, "host-root", false, "the guest's root file system is this machine's, read-only below a writable layer; refused for pull requests of forks")
	f.StringVar(&o.cgroup, "cgroup", "v2", "`v1 or v2`: the version of control groups that is mounted at /sys/fs/cgroup")
	f.IntVar(&o.cpus, "cpus", 1, "processors of each VM, 1 to 64; emulated ones share this machine's cores, so that more of them are seldom faster")
	f.StringArrayVar(&o.params, "append", nil, "further kernel `PARAMETERS`, such as 'lsm=lockdown,bpf'; repeatable")
	f.StringArrayVar(&o.libraryPath, "library-path", nil, "look for the libraries of dynamic programs in `DIR[:DIR...]` first, as by LD_LIBRARY_PATH; repeatable")
	f.StringArrayVar(&o.junit, "junit", nil, "with --test: take the tests from the JUnit XML that the program writes to the files that match `GLOB` in the guest; repeatable")
	f.StringVar(&o.framework, "framework", "", "with --test: have the program write JUnit XML, and take its tests from that; `NAME` is "+strings.Join(guest.Frameworks(), ", "))
	f.StringArrayVar(&o.collect, "collect", nil, "bring the guest's files that match `GLOB` to results/ when the payload has ended; repeatable")
	f.BoolVar(&o.cover, "cover", false, "with --test: collect the Go coverage of a program that is built with -cover; with --go: build with it")
	f.BoolVar(&o.collectCores, "collect-cores", false, "collect the core dumps of programs that crash")
}

// maxCPUs is the most processors of a VM.
const maxCPUs = 64

// once is a flag that may be given only once: of two values, one would silently
// not count.
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
	o.env = takeEnv("--env ", o.env, getenv, warn)
}

func takeEnv(flag string, names []string, getenv func(string) string, warn func(string)) (env []string) {
	for _, kv := range names {
		value := ""
		if !strings.Contains(kv, "=") && guest.CheckEnv(kv+"=") == nil {
			if value = getenv(kv); value == "" {
				warn(fmt.Sprintf("%s%s: it is not set here: the payload runs without it", flag, kv))
				continue
			}
			kv += "=" + value
		}
		env = append(env, kv)
	}
	return env
}

// hasTest says whether test programs are given.
func (o *payloadOptions) hasTest() bool { return len(o.tests) > 0 || o.testsFile != "" }

// inputs are the flags that tell the payload's architecture, as payloadArch takes
// them.
func (o *payloadOptions) inputs() inputs {
	var lines []string
	for _, t := range o.tests {
		lines = append(lines, strings.ReplaceAll(t, "\n", " "))
	}
	return inputs{"events-trace": o.eventsTrace, "test": strings.Join(lines, "\n"), "tests": o.testsFile, "rootfs": o.rootfs}
}

// validate checks the flags without looking at files.
func (o *payloadOptions) validate() error {
	n := 0
	for _, given := range []bool{o.eventsTrace != "", o.hasTest(), o.golang.given(), len(o.objects) > 0} {
		if given {
			n++
		}
	}
	switch {
	case n == 0:
		return usagef("nothing to run: give --go ./... or --test 'PATH ARGS...' or --objects 'GLOB' or --events-trace PATH")
	case n > 1:
		return usagef("--go, --test, --objects and --events-trace exclude each other: give one of them")
	case o.unsupported != wire.TestFail && o.unsupported != wire.TestSkip:
		return usagef("--unsupported is %q: want fail or skip", o.unsupported)
	case o.eventsTrace == "" && len(o.require) > 0:
		return usagef("--require goes with --events-trace: give both")
	case !o.hasTest() && o.workdir != "/":
		return usagef("--workdir goes with --test: give both")
	case !o.hasTest() && (len(o.junit) > 0 || o.framework != ""):
		return usagef("--junit and --framework go with --test: give it, too")
	case !o.hasTest() && !o.golang.given() && o.cover:
		return usagef("--cover goes with --test or --go: give one of them")
	case len(o.objects) == 0 && o.attach:
		return usagef("--attach goes with --objects: give both")
	case len(o.objects) == 0 && o.unsupported != wire.TestFail:
		return usagef("--unsupported goes with --objects: give both")
	case len(o.objects) == 0 && len(o.loading.flags()) > 0:
		return usagef("%s goes with --objects: give both", o.loading.flags()[0])
	case len(o.objects) > 0:
		if err := o.loading.validate(); err != nil {
			return err
		}
	}
	if o.framework != "" {
		if err := checkFramework(o.framework); err != nil {
			return usagef("--framework %w", err)
		}
	}
	return cmp.Or(o.golang.validate(), o.validateExtras())
}

// validateExtras checks the flags that a session without a payload has as well.
func (o *payloadOptions) validateExtras() error {
	switch {
	case o.rootfs != "" && o.hostRoot:
		return usagef("--rootfs and --host-root exclude each other: give one of them")
	case !slices.Contains([]guest.OnDemand{"", guest.OnDemandDefault, guest.OnDemandAll, guest.OnDemandNone}, guest.OnDemand(o.onDemand)):
		return usagef("--modules is %q: want default, all or none", o.onDemand)
	case o.cgroup != "v1" && o.cgroup != "v2":
		return usagef("--cgroup is %.50q: want v1 or v2", o.cgroup)
	case o.cpus < 1 || o.cpus > maxCPUs:
		return usagef("--cpus is %d: want 1 to %d", o.cpus, maxCPUs)
	}
	return nil
}

// namedPayload is a payload with its name for people.
type namedPayload struct {
	guest.Payload
	arch string
	name string
	path string // of the program, or the first of several
	root userRoot
	btf  *btfhub.Files // of --btf

	programs     []string            // paths of all of them
	flags        []string            // of debug, for the same payload; see payloadOptions.flags
	programFlags map[string][]string // the same for one of several programs, by its name
	warnings     []string

	cpus   int
	params []string // further kernel parameters
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
	var err error
	if o.programs, err = o.specs(); err != nil {
		return p, err
	}
	for i := range o.programs {
		o.programs[i].env = takeEnv("--test: env=", o.programs[i].env, c.getenv, c.warn)
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
	for _, s := range append(o.programs, testSpec{}) {
		flag, dir := "--workdir", o.workdir
		if s.dir != "" {
			flag, dir = "--test: dir=", s.dir
		}
		if !p.HasDir(dir) && !root.hasDir(dir) {
			return p, usagef("%s %q: the guest has no such directory: want an absolute path that a --file is put under", flag, dir)
		}
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
	if err := p.AddEnv(o.env); err != nil {
		return usagef("--env %w", err)
	}
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
	var err error
	if p.params, err = qemu.SplitParams(o.params); err != nil {
		return usagef("--append %w", err)
	}
	p.cpus = o.cpus
	p.Job.CgroupV1 = o.cgroup == "v1"
	p.Job.Cores = o.collectCores
	for _, glob := range o.collect {
		pattern, err := guest.CheckPattern(glob, o.workdir)
		if err != nil {
			return usagef("--collect %w", err)
		}
		p.Job.Collect = append(p.Job.Collect, pattern)
	}
	for _, spec := range o.files {
		if err := p.AddFile(spec); err != nil {
			return usagef("--file %w", err)
		}
	}
	return o.addLibraries(p)
}

// addLibraries adds what the payload's dynamic programs need.
func (o *payloadOptions) addLibraries(p *namedPayload) error {
	l := guest.Libraries{Programs: append(p.programs, p.path), Warn: func(msg string) { p.warnings = append(p.warnings, msg) }}
	for _, dirs := range o.libraryPath {
		for _, dir := range strings.Split(dirs, ":") {
			if info, err := os.Stat(dir); err != nil || !info.IsDir() {
				return usagef("--library-path %q: it is no directory here: want DIR or DIR:DIR with libraries", dir)
			}
			l.Path = append(l.Path, dir)
		}
	}
	if p.root.given() {
		l.Has = func(name string) bool { _, err := p.root.readFile(name); return err == nil }
	}
	return p.AddLibraries(cmp.Or(p.arch, runtime.GOARCH), l)
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
		b, err := guest.ReadExecutable(o.eventsTrace, p.arch)
		if err != nil {
			return p, err
		}
		p.name, p.path = "EventsTrace "+o.eventsTrace, o.eventsTrace
		if p.Payload, err = guest.EventsTracePayload(ctx, p.arch, b, timeout, require...); err == nil {
			p.Files[0].Source = o.eventsTrace
		}
		return p, err
	case o.hasTest():
		return readTests(o, root, arch, timeout)
	case o.golang.given():
		return readGo(ctx, o, arch, timeout)
	default:
		return readObjectsPayload(ctx, o, arch, timeout)
	}
}

func readObjectsPayload(ctx context.Context, o payloadOptions, arch string, timeout time.Duration) (p namedPayload, err error) {
	paths, err := guest.FindObjects(o.objects)
	if err != nil {
		return p, err
	}
	settings, err := o.loading.parse()
	if err != nil {
		return p, err
	}
	if p.btf, err = o.loading.openBTF(); err != nil {
		return p, err
	}
	// An object fits every architecture: take this machine's by default.
	p.arch = cmp.Or(arch, runtime.GOARCH)
	p.name, p.path = strings.Join(o.objects, " "), paths[0]
	w := o.loading.wire(settings, o.attach, o.unsupported)
	objects, err := guest.ReadObjects(paths, p.arch)
	if err == nil {
		err = checkSettings(objects, settings)
	}
	if err == nil {
		p.Payload, err = guest.ObjectsPayload(ctx, p.arch, objects, w, timeout)
	}
	return p, err
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
