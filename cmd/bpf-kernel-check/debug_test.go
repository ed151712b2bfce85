package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/kballard/go-shellquote"
	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/rootfs"
)

// A person looks into a kernel with a payload, and leaves by QEMU's keys.
func TestDebugOnTerminal(t *testing.T) {
	cache, id := debugKernel(t)
	b, err := guest.Program(t.Context(), "amd64", guest.Tracer)
	if err != nil {
		t.Fatal(err)
	}
	tracer := filepath.Join(t.TempDir(), "EventsTrace")
	if err := os.WriteFile(tracer, b, 0o755); err != nil {
		t.Fatal(err)
	}
	y := onTerminal(t, "debug", "--cache", cache, "--kernels", "debian:bookworm:cloud-amd64", id, "--events-trace", tracer)
	motd := y.expect("# ")
	release := regexp.MustCompile(`(\S+):/$`).FindStringSubmatch(motd)
	if release == nil || !strings.HasPrefix(id, "debian/"+release[1]+"__") {
		t.Fatalf("the prompt is not one of the kernel's release: %q", motd)
	}
	for _, want := range []string{id, "/testrunner --events-trace /EventsTrace", "Ctrl-A X"} {
		if !strings.Contains(motd, want) {
			t.Errorf("%q is not said at the beginning", want)
		}
	}
	prompt := release[1] + ":/# "
	y.send("uname -r\r")
	y.expect("uname -r\n" + release[1] + "\n" + prompt)

	y.send("bpf prog list\r")
	if got := y.expect(prompt); !strings.Contains(got, "no programs are loaded") {
		t.Errorf("before the tracer runs: %q", got)
	}
	y.send("EventsTr\t-a -i >/tmp/events &\r")
	y.expect("&\n" + prompt)
	y.send("until bpf prog list | grep -q fork; do sleep 0.1; done; bpf prog list; bpf map list; bpf link list\r")
	y.expect("\n")
	if got := y.expect(prompt); !regexp.MustCompile(`(?m)^\d+ +(Tracing|RawTracepoint|Kprobe|TracePoint)\S* +\S*fork`).MatchString(got) ||
		!regexp.MustCompile(`(?m)^\d+ +RingBuf`).MatchString(got) {
		t.Errorf("with the tracer: %q", got)
	}

	// An interrupt ends what is in the foreground, and only that.
	y.send("echo waiting; sleep 1000\r")
	y.expect("\nwaiting\n")
	y.send("\x03")
	y.expect(prompt)
	y.send("no such line\x03")
	y.expect("^C")
	y.expect(prompt)
	y.send("ps; echo $TERM $COLUMNS\r")
	if got := y.expect(prompt); !strings.Contains(got, "EventsTrace -a -i") || !strings.Contains(got, "xterm-test 121") {
		t.Errorf("after interrupts: %q", got)
	}
	y.send("\x01x")
	y.end()
}

// A person looks into a kernel that failed, from its results, and leaves by
// exit.
func TestDebugFromResults(t *testing.T) {
	cache, id := debugKernel(t)
	dir := t.TempDir()
	line := report.Command("--kernels", "debian:bookworm:cloud-amd64", "--test", "./probe.test -test.v", "--env", "TOKEN", id)
	w, err := report.CreateShardFile(dir, report.Plan{
		Tool: "x", List: "sha256:0", Algorithm: "x", Shard: 1, Shards: 1, Attempt: 1, Arch: "amd64", Kernels: []string{id},
	})
	if err != nil {
		t.Fatal(err)
	}
	k := report.Result{ID: id, Verdict: report.Fail, Digest: "sha256:1", Attempts: 1, Cause: &report.Cause{Title: "TestX: it\x1b[31m broke"}, Reproduce: line}
	if err := w.Kernel(k); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(true); err != nil {
		t.Fatal(err)
	}
	y := onTerminal(t, "debug", "--cache", cache, "--from", dir, "--no-payload")
	y.expect("warning: " + id + " is not what was tested")
	y.expect("Its result was fail: TestX: it broke")
	y.expect("# ")
	y.send("exit\r")
	y.end()
}

// debugKernel is the kernel that the tests boot.
func debugKernel(t *testing.T) (cache, id string) {
	t.Helper()
	if testing.Short() {
		t.Skip("it boots a VM")
	}
	cache, err := kernel.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if id, err = newestKernel(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	return cache, id
}

func TestMarkedOutput(t *testing.T) {
	const mark = "00ff"
	text := "[    1.0] kernel\r\n::error::x\n" + wire.MarkBegin("other") + "\n" + wire.MarkBegin(mark) + "\na\r\nb\x1b\nno newline" +
		wire.MarkEnd("other", 0) + wire.MarkEnd(mark, 7) + "\r\nafter\n" + wire.MarkBegin(mark) + "\nlate\n"
	for _, step := range []int{1, 3, 1000} {
		var out, rest bytes.Buffer
		s := &marked{mark: mark, out: &out, rest: &rest, began: make(chan struct{})}
		for b := []byte(text); len(b) > 0; b = b[min(step, len(b)):] {
			if _, err := s.Write(b[:min(step, len(b))]); err != nil {
				t.Fatal(err)
			}
		}
		s.flush()
		if want := "a\r\nb\x1b\nno newline" + wire.MarkEnd("other", 0); out.String() != want || !s.ended || s.status != 7 {
			t.Errorf("steps of %d: %q, %v, %d, want %q", step, out.String(), s.ended, s.status, want)
		}
		if want := "[    1.0] kernel\r\n::error::x\n" + wire.MarkBegin("other") + "\nafter\n" + wire.MarkBegin(mark) + "\nlate\n"; rest.String() != want {
			t.Errorf("steps of %d: the rest is %q, want %q", step, rest.String(), want)
		}
	}
}

// How a console arrives changes nothing, and nothing but the session's own
// marks can begin or end its output.
func FuzzMarkedOutput(f *testing.F) {
	const mark = "00ff"
	f.Add([]byte("a\n"+wire.MarkBegin(mark)+"\nb\n"+wire.MarkEnd(mark, 3)+"\n"), 3)
	f.Add([]byte(wire.MarkEnd(mark, 0)+"\n"+wire.MarkBegin(mark)+wire.MarkBegin(mark)+"\r\n"), 1)
	f.Add([]byte(wire.MarkBegin(mark)+"\n"+wire.MarkEnd(mark, 256)+"\n@session:00ff end -1\n"), 7)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		if len(b) > maxPending || step < 1 {
			return
		}
		split := func(step int) (string, string, bool, int) {
			var out, rest bytes.Buffer
			s := &marked{mark: mark, out: &out, rest: &rest, began: make(chan struct{})}
			for left := b; len(left) > 0; left = left[min(step, len(left)):] {
				_, _ = s.Write(left[:min(step, len(left))])
			}
			s.flush()
			return out.String(), rest.String(), s.ended, s.status
		}
		out, rest, ended, status := split(step)
		out2, rest2, ended2, status2 := split(len(b) + 1)
		if out != out2 || rest != rest2 || ended != ended2 || status != status2 {
			t.Fatalf("%q and %q, %q and %q", out, out2, rest, rest2)
		}
		if (ended || out != "") && !bytes.Contains(b, []byte(wire.MarkBegin(mark))) || status < 0 || status > 255 {
			t.Fatalf("%q has output %q, %v, %d", b, out, ended, status)
		}
	})
}

func TestPayloadFlagsComeBack(t *testing.T) {
	o := payloadOptions{
		tests: []string{"./a b.test -run 'x y'"}, files: []string{"a:/b", "it's"}, env: []string{"TOKEN=secret", "LANG=C"}, workdir: "/d", modules: []string{"xfs"}, onDemand: "all", libraryPath: []string{"/l:/m"},
		unsupported: wire.TestFail, rootfs: "debian:bookworm+bpftrace", cgroup: "v1", cpus: 2, params: []string{`lsm=bpf dyndbg="file x +p"`},
	}
	line := report.Command(append([]string{"--kernels", "gs://b/x~y"}, append(o.flags(), "debian/6.1~rc1")...)...)
	if line == "" || strings.Contains(line, "secret") {
		t.Fatalf("%q", line)
	}
	var got debugOptions
	got.payload.workdir, got.payload.cgroup = "/", "v2"
	var warned []string
	getenv := func(name string) string { return map[string]string{"LANG": "de"}[name] }
	if err := got.restore(&report.Result{ID: "debian/6.1~rc1", Reproduce: line}, getenv, func(s string) { warned = append(warned, s) }); err != nil {
		t.Fatal(err)
	}
	p := got.payload
	if len(got.kernels) != 1 || got.kernels[0] != "gs://b/x~y" || !slices.Equal(p.tests, o.tests) || strings.Join(p.files, "|") != "a:/b|it's" || p.workdir != "/d" || strings.Join(p.env, "|") != "LANG=de" ||
		p.onDemand != "all" || !slices.Equal(p.libraryPath, o.libraryPath) || p.cgroup != "v1" || p.cpus != 2 || !slices.Equal(p.params, o.params) || p.rootfs != o.rootfs {
		t.Errorf("%+v", got)
	}
	if len(warned) != 1 || !strings.Contains(warned[0], "--env TOKEN=VALUE") {
		t.Errorf("%q", warned)
	}
}

// The arguments of a test program are published as well: what is a secret by its
// name is not.
func TestShownTest(t *testing.T) {
	for test, want := range map[string]string{
		`./a  -run "x y" -v`:                      `./a  -run "x y" -v`,
		`./a -api-token=s3cret -run 'x y'`:        `./a -api-token=xxxxx -run 'x y'`,
		`./a --password 's3c ret' -v`:             `./a --password xxxxx -v`,
		`./a -url https://u:s3cret@h/?sig=s3cret`: `./a -url https://h/\?sig=xxxxx`,
		`./a 'unclosed`:                           `./a 'unclosed`,
		`./a -- env=X=s3cret`:                     `./a -- env=X=s3cret`, // the program's own
		`name=b env=X=s3cret 'env=Y=a b' timeout=90s dir=/d/../e -- ./a --token=s3cret`: `name=b dir=/e env=X env=Y timeout=1m30s -- ./a --token=xxxxx`,
	} {
		o := payloadOptions{tests: []string{test}}
		if got := o.flags(); !slices.Equal(got, []string{"--test", want}) {
			t.Errorf("%s: %q", test, got)
		}
	}
}

// What is a secret by its name, or part of an address, is not in the flags that are
// published, and --from does not take its place for a value.
func TestShownFlags(t *testing.T) {
	o := payloadOptions{
		rootfs: "https://u:s3cret@h/root.tar?sig=s3cret", modules: []string{"./a.ko,key=s3cret,s3cret,b=1", "xfs"},
		params: []string{`a.token="s3cret s3cret" lsm=bpf`},
	}
	want := []string{"--module", "./a.ko,key=xxxxx,xxxxx,b=1", "--module", "xfs", "--rootfs", "https://h/root.tar?sig=xxxxx", "--append", "a.token=xxxxx lsm=bpf"}
	if got := o.flags(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for i := 0; i < len(want); i += 2 {
		k := &report.Result{Reproduce: report.Command("--kernels", "x", want[i], want[i+1], "id")}
		err := (&debugOptions{}).restore(k, os.Getenv, func(string) {})
		if (err != nil) != strings.Contains(want[i+1], report.Hidden) {
			t.Errorf("%q: %v", want[i:i+2], err)
		}
	}
	var c shard.Config
	userRoot{Root: &rootfs.Root{Spec: o.rootfs}}.apply(&c)
	if strings.Contains(c.Payload.Root, "s3cret") {
		t.Errorf("the payload's root is %q", c.Payload.Root)
	}
	for flag, p := range map[string]namedPayload{"": {}, "--host-root": {root: userRoot{host: true}}} {
		if got := p.unknown(); got != flag {
			t.Errorf("results do not tell %q, want %q", got, flag)
		}
	}
}

// A flag of debug that says what is the default stands against the results.
func TestDefaultsOverResults(t *testing.T) {
	k := &report.Result{Reproduce: report.Command("--kernels", "x", "--cgroup", "v1", "--cpus", "2", "--modules", "all", "id")}
	o := debugOptions{given: func(string) bool { return true }, payload: payloadOptions{cgroup: "v2", cpus: 1, onDemand: "default"}}
	if err := o.restore(k, os.Getenv, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if p := o.payload; p.cgroup != "v2" || p.cpus != 1 || p.onDemand != "default" {
		t.Errorf("%+v", p)
	}
}

// A session without a payload checks its flags as well.
func TestSessionFlags(t *testing.T) {
	for want, o := range map[string]payloadOptions{
		"--modules is": {onDemand: "bogus", cgroup: "v2", cpus: 1}, "--rootfs and --host-root": {rootfs: "x", hostRoot: true, cgroup: "v2", cpus: 1},
	} {
		d := debugging{o: debugOptions{payload: o}}
		if err := d.readPayload(t.Context(), &command{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Each command that is printed to reproduce a result is one that runs, as it
// stands, and no value of a variable is in it.
func TestReproducingCommandIsOne(t *testing.T) {
	vars := map[string]string{"TOKEN": "it's $ecret", "LANG": "C", "EMPTY": ""}
	for _, args := range [][]string{
		{"--events-trace", "./Events Trace", "--require", "Fork"},
		{"--test", `./a.test -run 'x y' -test.v "a$b"`, "--env", "TOKEN", "--env", "LANG=C", "--file", "it's:/here", "--workdir", "/d d", "--rootfs", "./it's a root"},
		{"--objects", "a/*.o", "--objects", "b.o", "--attach", "--unsupported", "skip", "--module", "xfs", "--env", "TOKEN=it's $ecret"},
		{"--objects", "a.o", "--loader", "both", "--load", "whole", "--map", "m:pinned", "--set", `c.comm="it's, $a",x=1`, "--set", "x=2", "--programs", "!a*", "--alternatives", "a | b", "--target", "a=fentry/b", "--btf", "a dir"},
		{"--test", "./a.test", "--cgroup", "v1", "--cpus", "4", "--append", `lsm=bpf dyndbg="file x +p"`, "--append", "slab_nomerge"},
		{"--test", "./a.test", "--collect", "/tmp/a b*", "--collect", "out", "--cover", "--collect-cores"},
		{"--go", "./probe", "--go", "example.com/a b", "--tags", "x,y", "--go-args", `-run 'x y' -short`, "--cover"},
		{"--test", "--weird", "--library-path", "a:b", "--library-path", "c d", "--env", "NOT_SET", "--env", "EMPTY", "--env=TOKEN"},
	} {
		c := &command{getenv: func(name string) string { return vars[name] }}
		var o payloadOptions
		cmd := &cobra.Command{}
		o.add(cmd)
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		var warned []string
		o.takeEnv(c.getenv, func(s string) { warned = append(warned, s) })
		words := append(o.flags(), runOptions{memory: 512}.memoryFlags()...)
		line := report.Command(append(append([]string{"--kernels", "gs://b/x~y"}, words...), "debian/6.1~rc1")...)
		if line == "" || strings.Contains(line, "ecret") {
			t.Errorf("%q: the command is %q", args, line)
		}
		split, err := shellquote.Split(line) // as a shell does
		if err != nil || len(split) < 2 {
			t.Fatalf("%s: %v", line, err)
		}
		debug, flags, err := c.root().Find(split[1:])
		if err != nil || debug.Name() != "debug" {
			t.Fatalf("%s: %v, %v", line, debug, err)
		}
		if err := debug.ParseFlags(flags); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		again := payloadOptions{}
		for name, to := range map[string]*[]string{"test": &again.tests, "go": &again.golang.patterns, "objects": &again.objects, "require": &again.require, "file": &again.files, "env": &again.env, "module": &again.modules, "collect": &again.collect, "junit": &again.junit, "append": &again.params, "library-path": &again.libraryPath, "map": &again.loading.maps, "set": &again.loading.variants, "programs": &again.loading.programs, "alternatives": &again.loading.alternatives, "target": &again.loading.targets} {
			if *to, err = debug.Flags().GetStringArray(name); err != nil {
				t.Fatal(err)
			}
		}
		again.golang.tags, again.golang.args = debug.Flag("tags").Value.String(), debug.Flag("go-args").Value.String()
		again.eventsTrace = debug.Flag("events-trace").Value.String()
		again.cover, again.collectCores = debug.Flag("cover").Value.String() == "true", debug.Flag("collect-cores").Value.String() == "true"
		again.workdir, again.unsupported = debug.Flag("workdir").Value.String(), debug.Flag("unsupported").Value.String()
		again.framework = debug.Flag("framework").Value.String()
		again.loading.loader, again.loading.load, again.loading.btf = debug.Flag("loader").Value.String(), debug.Flag("load").Value.String(), debug.Flag("btf").Value.String()
		again.rootfs = debug.Flag("rootfs").Value.String()
		again.cgroup = debug.Flag("cgroup").Value.String()
		if again.cpus, err = debug.Flags().GetInt("cpus"); err != nil {
			t.Fatal(err)
		}
		if again.onDemand = debug.Flag("modules").Value.String(); again.onDemand == "default" && o.onDemand == "" {
			again.onDemand = ""
		}
		again.attach = debug.Flag("attach").Value.String() == "true"
		again.takeEnv(c.getenv, func(s string) { t.Errorf("%s: %s", line, s) })
		if diff := cmp.Diff(o, again, cmp.AllowUnexported(payloadOptions{}, goOptions{}, loading{}, objectSettings{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
		if want := strings.Count(strings.Join(args, " "), "NOT_SET") + strings.Count(strings.Join(args, " "), "EMPTY"); len(warned) != want {
			t.Errorf("%q: warnings %q, want %d", args, warned, want)
		}
		if got := debug.Flags().Args(); len(got) != 1 || got[0] != "debian/6.1~rc1" {
			t.Errorf("%s: arguments %q", line, got)
		}
	}
}

// What is wrong with a variable is said without its value.
func TestEnvErrorHidesTheValue(t *testing.T) {
	for _, kv := range []string{"a b=secret", "=secret", "1=secret", "X=secret\x00"} {
		if err := guest.CheckEnv(kv); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", kv, err)
		}
	}
}
