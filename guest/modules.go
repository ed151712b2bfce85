package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// OnDemand says which modules a kernel brings along for whatever asks for them
// while the payload runs. The zero value is none.
type OnDemand string

// The choices of OnDemand.
const (
	OnDemandNone    OnDemand = "none"
	OnDemandDefault OnDemand = "default" // what tests of BPF and of networks use
	OnDemandAll     OnDemand = "all"
	onDemandAttach  OnDemand = "attach" // what attaching programs to devices takes
)

// Wants says of a module's name whether it is brought along, without its
// dependencies. It is nil where none are.
func (o OnDemand) Wants() func(name string) bool {
	switch o {
	case OnDemandAll:
		return func(string) bool { return true }
	case OnDemandDefault, onDemandAttach:
		list := strings.Fields(o.List())
		return func(name string) bool {
			return slices.ContainsFunc(list, func(pattern string) bool {
				ok, _ := path.Match(pattern, name) // the patterns are good
				return ok
			})
		}
	}
	return nil
}

// List tells one choice from another, and one version's default from another's.
func (o OnDemand) List() string {
	switch o {
	case OnDemandDefault:
		return defaultModules
	case onDemandAttach:
		return attachModules
	}
	return string(o)
}

// attachModules are veth, and what clsact and actions of tc are made of. What else
// the loader attaches to is never a module.
const attachModules = "veth sch_ingress cls_bpf act_bpf"

// attaching is onDemandAttach if attaching an object's programs, or what they are
// made by settings, may take its modules.
func attaching(object []byte, targets []wire.TargetOfProg) OnDemand {
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return ""
	}
	defer f.Close()
	var names []string
	for _, s := range f.Sections {
		names = append(names, s.Name)
	}
	for _, t := range targets {
		names = append(names, t.Section)
	}
	for _, name := range names {
		kind, _, _ := strings.Cut(strings.TrimPrefix(name, "?"), "/")
		if slices.Contains([]string{"xdp", "xdp.frags", "tc", "classifier", "action"}, kind) {
			return onDemandAttach
		}
	}
	return ""
}

// OwnModule is a module that the payload's user built.
type OwnModule struct {
	wire.OwnModule
	Vermagic string // of its .modinfo: the release that it was built for, and flags
}

// AddOwnModule has the guest load a module before the payload runs.
func (p *Payload) AddOwnModule(m OwnModule, data []byte) {
	p.Own = append(p.Own, m)
	p.Job.Own = append(p.Job.Own, m.OwnModule)
	p.Files = append(p.Files, File{Path: wire.OwnModulesDir + "/" + m.Name + ".ko", Mode: 0o644, Data: data})
}

// FirstModules are the kernel's modules that are loaded before the payload runs.
// Those that the user built in their place are not among them.
func (p *Payload) FirstModules() []string {
	return slices.DeleteFunc(slices.Clone(p.Modules), func(name string) bool {
		return slices.ContainsFunc(p.Own, func(m OwnModule) bool { return wire.ModuleName(m.Name) == wire.ModuleName(name) })
	})
}

// Unfit says why a kernel of a release does not take the module; "": it may. A
// kernel with modversions compares the symbols' checksums instead of the release.
func (m OwnModule) Unfit(release string) string {
	built, flags, _ := strings.Cut(m.Vermagic, " ")
	if release == "" || built == "" || built == release || slices.Contains(strings.Fields(flags), "modversions") {
		return ""
	}
	return fmt.Sprintf("the module %s is built for %s, and this kernel is %s: build it for this kernel, or leave the kernel out", m.Name, built, release)
}

// defaultModules are patterns of the names of what tests of BPF and of networks
// use: as the BPF selftests of the kernel and its selftests of networks configure
// theirs, and ebpf-go and libbpf the kernels of their CI. What is large and seldom
// asked for is left to --module.
const defaultModules = `
	8021q bonding br_netfilter bridge dummy ifb ipvlan ipvtap macvlan macvtap netdevsim nlmon tap team
	team_mode_* tun vcan can can_dev veth vrf stp llc

	bareudp fou fou6 geneve gre ip6_gre ip6_tunnel ip6_udp_tunnel ip_gre ip_tunnel ipip mpls_iptunnel
	mpls_router sit tunnel4 tunnel6 udp_tunnel vxlan wireguard xfrm_interface

	act_* cls_* em_cmp em_meta em_nbyte em_text em_u32 sch_*

	ip6_tables ip6t_* ip6table_* ip_tables ipt_* iptable_* libcrc32c nf_conntrack nf_conntrack_bridge
	nf_conntrack_netlink nf_defrag_* nf_dup_* nf_flow_table* nf_log_* nf_nat nf_reject_* nf_socket_*
	nf_synproxy_core nf_tables nf_tproxy_* nfnetlink nfnetlink_* nft_* x_tables xt_*

	af_packet_diag esp4 esp6 inet_diag mptcp_diag netlink_diag raw_diag sctp sctp_diag tcp_* tls
	udp_diag unix_diag vmw_vsock_virtio_transport_common vsock vsock_diag vsock_loopback xfrm_algo
	xfrm_user xsk_diag

	af_alg algif_* authenc bpf_crypto_skcipher cbc ccm chacha20poly1305 chacha_generic cmac crc32c_*
	crypto_null ctr ecb echainiv gcm gf128mul ghash_generic libchacha libchacha20poly1305 libcurve25519_generic
	libpoly1305 md5 poly1305_generic seqiv xcbc

	fuse loop overlay
`
