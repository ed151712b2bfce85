package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

func TestOwnModules(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("build-17.ko", imagetest.KoFile("name=my_own\x00depends=udp-tunnel\x00vermagic=6.1.0 SMP \x00"))
	p := namedPayload{arch: "amd64"}
	o := payloadOptions{cgroup: "v2", cpus: 1, modules: []string{"xfs", good + ",a=1,2,b=3"}}
	if err := o.addExtras(&p); err != nil {
		t.Fatal(err)
	}
	want := []guest.OwnModule{{OwnModule: wire.OwnModule{Name: "my_own", Params: "a=1,2 b=3"}, Vermagic: "6.1.0 SMP "}}
	if d := cmp.Diff(want, p.Own); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := strings.Join(p.Modules, " ") + "; " + strings.Join(p.Job.Modules, " "); got != "xfs udp_tunnel; xfs" {
		t.Errorf("modules: %s", got)
	}
	fifo := filepath.Join(dir, "fifo.ko")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ spec, want string }{
		{filepath.Join(dir, "none.ko"), "no such file"},
		{file("text.ko", []byte("text")), "it is no module for amd64"},
		{file("plain.ko", imagetest.KoFile("license=GPL")), "it has no vermagic: want a kernel module"},
		{file("a b.ko", imagetest.KoFile("vermagic=6.1.0 SMP ")), "want a module's name"},
		{"a b", "want a module's name"},
		{fifo, "it is not a regular file"},
		{good + " and " + good, "another --module is called my_own"},
	} {
		o := payloadOptions{cgroup: "v2", cpus: 1, modules: strings.Split(tt.spec, " and ")}
		if err := o.addExtras(&namedPayload{arch: "amd64"}); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "--module ") {
			t.Errorf("%s: %v, want %q", tt.spec, err, tt.want)
		}
	}
	if err := (&payloadOptions{cgroup: "v2", cpus: 1, modules: []string{good}}).addExtras(&namedPayload{arch: "arm64"}); err == nil {
		t.Error("a module for another machine is taken")
	}
}

func TestModulesChoice(t *testing.T) {
	for _, tt := range []struct {
		given string
		had   guest.OnDemand
		want  guest.OnDemand
	}{
		{"default", guest.OnDemandDefault, guest.OnDemandDefault}, // a test program
		{"default", "", ""}, // an EventsTrace
		{"all", "", guest.OnDemandAll},
		{"none", guest.OnDemandDefault, guest.OnDemandNone},
	} {
		p := namedPayload{Payload: guest.Payload{OnDemand: tt.had}}
		if err := (&payloadOptions{cgroup: "v2", cpus: 1, onDemand: tt.given}).addExtras(&p); err != nil || p.OnDemand != tt.want {
			t.Errorf("--modules %s: %q, %v, want %q", tt.given, p.OnDemand, err, tt.want)
		}
	}
	o := payloadOptions{tests: []string{"x"}, unsupported: "fail", workdir: "/", onDemand: "some"}
	if err := o.validate(); err == nil || !strings.Contains(err.Error(), "--modules is \"some\": want default, all or none") {
		t.Errorf("%v", err)
	}
}
