package image

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

func FuzzReadModinfo(f *testing.F) {
	f.Add(imagetest.KoFile(imagetest.Modinfo("a,b")))
	f.Add(imagetest.KoFile(imagetest.Modinfo("")))
	f.Add(imagetest.KoFile("depends=a"))
	f.Add(imagetest.KoFile("softdep=pre: a-b c post: d\x00alias=fs-x\x00alias=net-pf-16-proto-*\x00vermagic=6.1.0 SMP"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadModinfo(data)
		if err != nil && !reflect.DeepEqual(m, Modinfo{}) {
			t.Fatal("facts beside an error")
		}
		for _, n := range slices.Concat(m.Depends, m.Pre, m.Post) {
			if n == "" || strings.ContainsAny(n, ", -\x00\n") {
				t.Fatalf("name %q", n)
			}
		}
		for _, a := range m.Aliases {
			if a == "" || strings.ContainsAny(a, " \x00\n") {
				t.Fatalf("alias %q", a)
			}
		}
	})
}

func TestReadModinfo(t *testing.T) {
	got, err := ReadModinfo(imagetest.KoFile("name=vx-lan\x00depends=udp-tunnel,ip6_udp_tunnel\x00softdep=pre: crc32c post: a-b c\x00softdep=late\x00" +
		"alias=rtnl-link-vxlan\x00alias=two words\x00alias=\x00vermagic=6.1.0-1-amd64 SMP preempt \x00"))
	want := Modinfo{
		Name:    "vx_lan",
		Depends: []string{"udp_tunnel", "ip6_udp_tunnel"}, Pre: []string{"crc32c", "late"}, Post: []string{"a_b", "c"},
		Aliases: []string{"rtnl-link-vxlan"}, Vermagic: "6.1.0-1-amd64 SMP preempt ",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}
