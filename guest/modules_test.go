package guest

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestOnDemand(t *testing.T) {
	if OnDemandNone.Wants() != nil || OnDemand("").Wants() != nil {
		t.Error("none wants modules")
	}
	if !OnDemandAll.Wants()("btrfs") {
		t.Error("all does not want btrfs")
	}
	wants := OnDemandDefault.Wants()
	for _, name := range strings.Fields("veth dummy bridge 8021q macvlan ipvlan vxlan geneve gre ip_gre ip6_gre ipip sit ifb tun tap bonding vrf nlmon vcan " +
		"overlay loop fuse sch_ingress sch_fq sch_htb sch_netem cls_bpf cls_flower cls_u32 cls_matchall act_bpf act_mirred act_tunnel_key " +
		"nf_conntrack nf_nat nf_tables nft_compat ip_tables iptable_filter ip6table_nat x_tables xt_bpf xt_MASQUERADE wireguard sctp tls inet_diag tcp_bbr vsock_loopback algif_hash esp4") {
		if !wants(name) {
			t.Errorf("the default set lacks %s", name)
		}
	}
	for _, name := range strings.Fields("btrfs amdgpu test_bpf scsi_debug") {
		if wants(name) {
			t.Errorf("the default set has %s", name)
		}
	}
}

func TestUnfit(t *testing.T) {
	for _, tt := range []struct {
		vermagic, release string
		unfit             bool
	}{
		{"6.1.0-1 SMP mod_unload ", "6.1.0-1", false},
		{"6.1.0-1 SMP mod_unload ", "6.1.0-2", true},
		{"6.1.0-1 SMP mod_unload modversions ", "6.1.0-2", false}, // the kernel compares checksums
		{"6.1.0-1 SMP mod_unload ", "", false},
	} {
		if why := (OwnModule{OwnModule: wire.OwnModule{Name: "own"}, Vermagic: tt.vermagic}).Unfit(tt.release); (why != "") != tt.unfit {
			t.Errorf("%q on %q: %q", tt.vermagic, tt.release, why)
		}
	}
}

func TestOwnModulesCountInDigests(t *testing.T) {
	digests := map[string]bool{}
	var content []string
	for _, m := range []struct {
		name, params, data string
		set                OnDemand
	}{{"a", "", "1", ""}, {"a", "", "2", ""}, {"b", "", "1", ""}, {"a", "x=1", "1", ""}, {"a", "", "1", OnDemandAll}} {
		p := Payload{OnDemand: m.set}
		p.AddOwnModule(OwnModule{OwnModule: wire.OwnModule{Name: m.name, Params: m.params}}, []byte(m.data))
		digests[p.Digest()] = true
		if slices.Contains(content, p.ContentDigest()) {
			t.Errorf("%+v has the digest of another", m)
		}
		content = append(content, p.ContentDigest())
		if p.Job.Own[0].Name != m.name || p.Files[0].Path != "/own-modules/"+m.name+".ko" {
			t.Errorf("%+v", p)
		}
	}
	if len(digests) != 4 { // contents do not count
		t.Errorf("%d digests, want 4", len(digests))
	}
}

// The kernel's own module would be taken for the user's of the same name.
func TestOwnModulesAreNotTheKernels(t *testing.T) {
	p := Payload{Modules: []string{"udp-tunnel", "xfs", "b"}}
	for _, name := range []string{"b", "a", "udp_tunnel"} {
		p.AddOwnModule(OwnModule{OwnModule: wire.OwnModule{Name: name}}, nil)
	}
	if got := p.FirstModules(); !slices.Equal(got, []string{"xfs"}) {
		t.Errorf("%q", got)
	}
}

// A restored VM leaves the modules on demand with the host: they are the last
// file, and not in the sum of what is read.
func TestHandOverLeavesModules(t *testing.T) {
	pack := func(onDemand string) (wire.HandoverPackage, []byte) {
		var b bytes.Buffer
		err := WriteModules(&b, []Module{{Name: "first", Data: []byte("first")}},
			File{Path: wire.DevicesPath, Mode: 0o644, Data: []byte("net/tun 10 200\n")}, File{Path: wire.OnDemandPath, Mode: 0o644, Data: []byte(onDemand)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := HandOver(bytes.NewReader(b.Bytes()), int64(b.Len()))
		if err != nil {
			t.Fatal(err)
		}
		return p, b.Bytes()
	}
	p, b := pack("PK zip")
	other, _ := pack("PK ZIP")
	if string(p.Later.Name) != "modules/ondemand.zip" || string(b[p.Later.Offset:][:p.Later.Size]) != "PK zip" || p.End() != p.Later.Offset || p.Size != int64(len(b)) {
		t.Errorf("%+v", p)
	}
	if p.Sum != other.Sum || p.LaterSum == other.LaterSum {
		t.Error("the sum is of what is not read, or the later one is not")
	}
	for _, f := range p.Files {
		if string(f.Name) == string(p.Later.Name) {
			t.Error("it is among the files that are read")
		}
	}
	h := wire.Handover{Nonce: "n", Now: 1, Entropy: make([]byte, wire.MinEntropy), Archives: []wire.HandoverPackage{p}}
	if _, err := wire.ParseHandover(wire.PackHandover(h)); err != nil {
		t.Error(err)
	}
	h.Archives[0].Later.Size++
	h.Archives[0].Size = h.Archives[0].Later.Offset
	if _, err := wire.ParseHandover(wire.PackHandover(h)); err == nil {
		t.Error("a file outside of its archive is taken")
	}
}

// Only objects whose programs are attached to devices bring modules for that.
func TestAttachingBringsModules(t *testing.T) {
	for name, want := range map[string]OnDemand{"net": onDemandAttach, "trace": ""} {
		b, err := os.ReadFile("loader/testdata/" + name + ".bpf.o")
		if err != nil {
			t.Fatal(err)
		}
		if got := attaching(b, nil); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if got := attaching(b, []wire.TargetOfProg{{Program: "p", Section: "tc"}}); got != onDemandAttach {
			t.Errorf("%s, with a program made one of tc: %q", name, got)
		}
	}
	if wants := onDemandAttach.Wants(); !wants("veth") || wants("tun") {
		t.Error("want veth, and not tun")
	}
}
