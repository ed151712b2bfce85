package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// modulesZip is an archive of modules on demand. Each holds its name.
func modulesZip(t testing.TB, others, builtin string, modules ...wire.ModuleInfo) []byte {
	t.Helper()
	var b, index bytes.Buffer
	w := zip.NewWriter(&b)
	add := func(name, data string) {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write([]byte(data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range modules {
		add(m.Name+".ko", "module "+m.Name)
		fmt.Fprintln(&index, m)
	}
	add(wire.OnDemandIndex, index.String())
	add(wire.OnDemandOthers, others)
	add(wire.OnDemandBuiltin, builtin)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// testStore is a store whose loads and notes are written down.
func testStore(t testing.TB, archive []byte) (o *moduleStore, loaded, noted *[]string) {
	path := filepath.Join(t.TempDir(), "zip")
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, noted = new([]string), new([]string)
	return &moduleStore{
		zipPath: path, fetch: func() error { return nil }, out: new(bytes.Buffer),
		load: func(name string, data []byte, params string) error {
			if name == "broken" {
				return fmt.Errorf("%w: broken: disagrees about version of symbol module_layout", unix.ENOEXEC)
			}
			*loaded = append(*loaded, strings.TrimSpace(string(data)+" "+params))
			return nil
		},
		present: func(name string) bool {
			return name == "live" || slices.ContainsFunc(*loaded, func(l string) bool { return strings.HasPrefix(l+" ", "module "+name+" ") })
		},
		note: func(request, module, why string) { *noted = append(*noted, request+"|"+module+"|"+why) },
	}, loaded, noted
}

func testModules(t testing.TB) []byte {
	return modulesZip(t, "openvswitch\nsch_other\nnft_foo\n", "built_in\n",
		wire.ModuleInfo{Name: "vxlan", Depends: []string{"udp_tunnel", "live"}, Pre: []string{"pre_soft", "no_such"}, Post: []string{"post_soft"}, Aliases: []string{"rtnl-link-vxlan"}},
		wire.ModuleInfo{Name: "udp_tunnel"}, wire.ModuleInfo{Name: "pre_soft"}, wire.ModuleInfo{Name: "post_soft", Pre: []string{"vxlan"}},
		wire.ModuleInfo{Name: "live"}, wire.ModuleInfo{Name: "broken", Aliases: []string{"two"}}, wire.ModuleInfo{Name: "needs_broken", Depends: []string{"broken"}},
		wire.ModuleInfo{Name: "crc32c_generic", Aliases: []string{"crc32c", "crypto-crc32c"}}, wire.ModuleInfo{Name: "libcrc32c", Pre: []string{"crc32c"}},
		wire.ModuleInfo{Name: "a", Depends: []string{"broken"}}, wire.ModuleInfo{Name: "twice", Pre: []string{"a"}, Depends: []string{"a"}},
		wire.ModuleInfo{Name: "loop1", Depends: []string{"loop2"}}, wire.ModuleInfo{Name: "loop2", Depends: []string{"loop1"}},
		wire.ModuleInfo{Name: "sctp", Aliases: []string{"net-pf-2-proto-132", "net-pf-10-proto-132", "two"}},
		wire.ModuleInfo{Name: "diag", Aliases: []string{"net-pf-16-proto-4-type-*"}},
	)
}

func TestModprobe(t *testing.T) {
	archive := testModules(t)
	for _, tt := range []struct {
		args, loaded, noted, err, out string
	}{
		{args: "-q -- rtnl-link-vxlan", loaded: "module pre_soft,module udp_tunnel,module vxlan,module post_soft", noted: "rtnl-link-vxlan|vxlan|"},
		{args: "udp-tunnel a=1 b=2", loaded: "module udp_tunnel a=1 b=2", noted: "udp-tunnel|udp_tunnel|"},
		{args: "-a udp-tunnel sctp", loaded: "module udp_tunnel,module sctp", noted: "udp-tunnel|udp_tunnel|,sctp|sctp|"},
		{args: "-nv vxlan x=1", out: "insmod vxlan.ko x=1\n"},
		{args: "-n nothing", err: "nothing: no module has this name"},
		{args: "-C /etc/x -b live", noted: "live|live|"},
		{args: "net-pf-2-proto-132", loaded: "module sctp", noted: "net-pf-2-proto-132|sctp|"},
		{args: "net-pf-16-proto-4-type-17", loaded: "module diag", noted: "net-pf-16-proto-4-type-17|diag|"},
		{args: "libcrc32c", loaded: "module crc32c_generic,module libcrc32c", noted: "libcrc32c|libcrc32c|"},
		{args: "twice", noted: "twice|twice|a, which it needs: broken, which it needs: exec format error: broken: disagrees about version of symbol module_layout", err: "module_layout"},
		{args: "loop1", loaded: "module loop2,module loop1", noted: "loop1|loop1|"},
		{args: "built-in"},
		{args: "-q binfmt-464c", err: "no module has this name"},
		{args: "-q rtnl-link-openvswitch", noted: "rtnl-link-openvswitch|openvswitch|" + notBrought, err: "--module openvswitch"},
		{args: "-q sch_other", noted: "sch_other|sch_other|" + notBrought, err: "--module sch_other"},
		{args: "needs-broken", noted: "needs-broken|needs_broken|broken, which it needs: exec format error: broken: disagrees about version of symbol module_layout", err: "module_layout"},
		{args: "two", loaded: "module sctp", noted: "two|sctp|"},
		{args: "-q", err: "want the name of a module"},
	} {
		o, loaded, noted := testStore(t, archive)
		err := o.modprobe(strings.Fields(tt.args))
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.args, err, tt.err)
		}
		if got := strings.Join(*loaded, ","); got != tt.loaded {
			t.Errorf("%s: loaded %q, want %q", tt.args, got, tt.loaded)
		}
		if got := strings.Join(*noted, ","); got != tt.noted {
			t.Errorf("%s: noted %q, want %q", tt.args, got, tt.noted)
		}
		if got := o.out.(*bytes.Buffer).String(); got != tt.out {
			t.Errorf("%s: printed %q, want %q", tt.args, got, tt.out)
		}
	}
}

func TestModprobeWithoutModules(t *testing.T) {
	o, _, _ := testStore(t, []byte("no zip"))
	if err := o.modprobe([]string{"x"}); err == nil {
		t.Error("an archive that is none is read")
	}
	o.fetch = func() error { return errors.New("the host is gone") }
	if err := o.modprobe([]string{"x"}); err == nil || !strings.Contains(err.Error(), "the host is gone") {
		t.Errorf("%v", err)
	}
}

func TestModinfo(t *testing.T) {
	o, _, _ := testStore(t, testModules(t))
	if err := o.modinfo([]string{"-F", "alias", "sctp"}); err != nil || o.out.(*bytes.Buffer).String() != "net-pf-2-proto-132\nnet-pf-10-proto-132\ntwo\n" {
		t.Errorf("%v, %q", err, o.out)
	}
	if err := o.modinfo([]string{"nothing"}); err == nil {
		t.Error("there is a module called nothing")
	}
}

func TestWouldMeet(t *testing.T) {
	for _, tt := range []struct {
		request, module string
		want            bool
	}{
		{"rtnl-link-wire-guard", "wire_guard", true},
		{"fs-btrfs", "btrfs", true},
		{"fs-trfs", "btrfs", false},
		{"net-sch-fq_pie", "sch_fq_pie", true},
		{"net-sch-fq_pie", "fq_pie", false},
		{"nft-expr-2-fib", "nft_fib", true},
		{"net-pf-16-proto-16-family-ovs", "ovs", true},
		{"net-pf-16-proto-16-family-ovs", "vs", false},
		{"tcp_bbr", "tcp_bbr", true},
		{"binfmt-464c", "c", false},
	} {
		if got := wouldMeet(tt.request, tt.module); got != tt.want {
			t.Errorf("%s by %s: %v", tt.request, tt.module, got)
		}
	}
}

func TestParseRequests(t *testing.T) {
	got, loaded := parseRequests("zzz\tx\t\nrtnl-link-veth\tveth\t\nrtnl-link-veth\tveth\t\nrtnl-link-ovs\tovs\t" + notBrought + "\nx\ty\tno memory\nrubbish\n\t\t\n" +
		strings.Repeat("a\tb"+strings.Repeat("c", 1000)+"\td\n", 2))
	want := []wire.Module{
		{Name: "ovs", Error: "the kernel asked for rtnl-link-ovs: --module ovs"},
		{Name: "y", Error: "no memory"},
		{Name: wire.Truncate("b"+strings.Repeat("c", 1000), wire.MaxName), Error: "d"},
	}
	if !slices.Equal(got, want) || loaded != "veth, x" {
		t.Errorf("got %+v, %q, want %+v", got, loaded, want)
	}
	many := ""
	for i := range 1000 {
		many += fmt.Sprintf("r\tmodule_%d\t\nbad\tbad\tbad\n", i)
	}
	if failed, loaded := parseRequests(many); len(loaded) != maxLoaded || len(failed) != 1 {
		t.Errorf("%d bytes of names, failed %v", len(loaded), failed)
	}
}

func FuzzParseRequests(f *testing.F) {
	f.Add("rtnl-link-veth\tveth\t\nx\ty\tz\n")
	f.Add(strings.Repeat("a\tb\tc\na\tc\td\n", 100))
	f.Fuzz(func(t *testing.T, text string) {
		list, loaded := parseRequests(text)
		if len(list) > shownMost || len(loaded) > maxLoaded {
			t.Fatalf("%d modules", len(list))
		}
		for _, m := range list {
			if m.Name == "" || len(m.Name) > wire.MaxName || len(m.Error) > wire.MaxName {
				t.Fatalf("%+v", m)
			}
		}
	})
}

func FuzzModprobe(f *testing.F) {
	f.Add(testModules(f), "rtnl-link-vxlan")
	f.Add([]byte("PK"), "x")
	f.Add(modulesZip(f, "\x00", "[", wire.ModuleInfo{Name: "a", Aliases: []string{"[", "[a-", "*"}}), "[")
	f.Fuzz(func(t *testing.T, archive []byte, name string) {
		o, _, _ := testStore(t, archive)
		_ = o.modprobe([]string{"-q", "--", name})
	})
}
