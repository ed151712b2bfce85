package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// What a kernel cannot attach is unsupported there, and nothing else is.
func TestAttachError(t *testing.T) {
	multi := programInfo{section: "uprobe.multi//bin/sh:main", typ: ebpf.Kprobe, attachType: ebpf.AttachTraceUprobeMulti}
	fentry := programInfo{section: "fentry/do_exit", typ: ebpf.Tracing, attachType: ebpf.AttachTraceFEntry}
	frags := programInfo{section: "xdp.frags", typ: ebpf.XDP, attachType: ebpf.AttachXDP, flags: unix.BPF_F_XDP_HAS_FRAGS}
	for _, tt := range []struct {
		release string
		ps      programInfo
		err     error
		want    string
	}{
		{"6.1.0-57", multi, unix.EINVAL, "unsupported: section uprobe.multi came with Linux 6.6, this kernel is 6.1.0-57"},
		{"6.1.0-57", multi, unix.ENOENT, "there: no such file or directory"},
		{"6.6.1", multi, unix.EINVAL, "there: invalid argument"},
		{"6.6.1", multi, fmt.Errorf("uprobes: %w", ebpf.ErrNotSupported), "unsupported: attachment of uprobe.multi programs came with Linux 6.6, and this kernel, 6.6.1, is built without it"},
		{"6.1.0", fentry, enotsupp, "there: errno 524: before Linux 6.6 this is so for functions with more than 6 arguments, among others"},
		{"6.6.0", fentry, enotsupp, "this kernel, 6.6.0, has no attachment of fentry programs"},
		{"6.1.0", fentry, unix.EBUSY, "there: device or resource busy"},
		{"5.10.0", frags, unix.EINVAL, "unsupported: section xdp.frags came with Linux 5.18, this kernel is 5.10.0"},
	} {
		l := &loader{kernel: kernelFacts{release: tt.release}}
		err := l.attachError("there", &tt.ps, tt.err)
		var u *unsupportedError
		if err.Error() != tt.want || errors.As(err, &u) != strings.HasPrefix(tt.want, "unsupported") {
			t.Errorf("%s on %s: %v, want %s", tt.ps.section, tt.release, err, tt.want)
		}
	}
}

// What no kernel can attach without more is said to be only loaded.
func TestLoadedOnly(t *testing.T) {
	for _, tt := range []struct {
		ps   programInfo
		want string
	}{
		{programInfo{section: "kprobe", typ: ebpf.Kprobe}, `something to attach to, which its section "kprobe" does not name: --target`},
		{programInfo{section: "tp", typ: ebpf.TracePoint}, `something to attach to, which its section "tp" does not name: --target`},
		{programInfo{section: "uprobe.s", typ: ebpf.Kprobe}, "a program to probe: --target"},
		{programInfo{section: "uprobe//no/such:f", attachTo: "/no/such:f", typ: ebpf.Kprobe}, "/no/such in the guest: --file"},
		{programInfo{section: "uretprobe/no_such:f", attachTo: "no_such:f", typ: ebpf.Kprobe}, "no_such in the guest: --file"},
		{programInfo{section: "usdt//proc/self/exe:a:b", attachTo: "/proc/self/exe:a:b", typ: ebpf.Kprobe}, "libbpf to attach it: --loader libbpf"},
		{programInfo{section: "fentry.multi/do_*", attachTo: "do_*", typ: ebpf.Tracing, attachType: 1000}, "libbpf to attach it: --loader libbpf"},
		{programInfo{section: "lirc_mode2", typ: ebpf.LircMode2}, "an infrared receiver"},
	} {
		note, detach, err := (&loader{}).attachProgram(nil, &tt.ps, nil)
		if want := "loaded only: needs " + tt.want + "\n"; note != want || detach != nil || err != nil {
			t.Errorf("%s: %q, %v; want %q", tt.ps.section, note, err, want)
		}
	}
}
