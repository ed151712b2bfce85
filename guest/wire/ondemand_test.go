package wire

import (
	"reflect"
	"strings"
	"testing"
)

func TestModuleInfo(t *testing.T) {
	for _, m := range []ModuleInfo{
		{Name: "dummy", Aliases: []string{"rtnl-link-dummy"}},
		{Name: "vxlan", Depends: []string{"udp_tunnel", "ip6_udp_tunnel"}, Pre: []string{"a"}, Post: []string{"b", "c"}, Aliases: []string{"rtnl-link-vxlan", "net-pf-16-proto-*"}},
		{Name: "plain", Aliases: []string{}},
	} {
		got, ok := ParseModuleInfo(m.String() + "\n")
		if !ok || !reflect.DeepEqual(got, m) {
			t.Errorf("%q: %+v, %v, want %+v", m, got, ok, m)
		}
	}
	for _, bad := range []string{"", "name", "name - -", "name a - -", "\x00"} {
		if m, ok := ParseModuleInfo(bad); ok {
			t.Errorf("%q: %+v", bad, m)
		}
	}
}

func FuzzParseModuleInfo(f *testing.F) {
	f.Add("vxlan -udp_tunnel,ip6_udp_tunnel - -b rtnl-link-vxlan")
	f.Add("x - - -")
	f.Add("x -, -a,,b -")
	f.Fuzz(func(t *testing.T, line string) {
		m, ok := ParseModuleInfo(line)
		if !ok {
			return
		}
		if again, ok := ParseModuleInfo(m.String()); !ok || !reflect.DeepEqual(again, m) {
			t.Fatalf("%q: %+v, then %+v", line, m, again)
		}
		if m.Name == "" || strings.ContainsAny(m.Name, " \n") {
			t.Fatalf("name %q", m.Name)
		}
	})
}
