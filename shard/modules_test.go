package shard

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"hash/crc32"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

func TestOnDemandZip(t *testing.T) {
	deflated := func(s string) kernel.Deflated {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, 6)
		if err == nil {
			_, err = io.WriteString(w, s)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return kernel.Deflated{Data: b.Bytes(), Size: len(s), CRC32: crc32.ChecksumIEEE([]byte(s))}
	}
	found := kernel.Modules{
		OnDemand: map[string]kernel.Deflated{"tun": deflated("tun's"), "vxlan": deflated("vxlan's"), "odd": deflated("odd's")},
		All:      map[string]bool{"tun": true, "vxlan": true, "odd": true, "b": true, "a": true},
		Builtin:  []string{"z", "y"},
		Info: map[string]image.Modinfo{
			"tun":   {Aliases: []string{"devname:net/tun", "char-major-10-200"}},
			"vxlan": {Depends: []string{"udp_tunnel"}, Pre: []string{"p"}, Aliases: []string{"rtnl-link-vxlan", "pci:v*"}},
			"odd":   {Aliases: []string{"devname:../../etc/x", "char-major-10-1", "devname:"}},
		},
	}
	first, err := onDemandZip(found)
	if err != nil {
		t.Fatal(err)
	}
	again, err := onDemandZip(found)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("not the same bytes, %v", err)
	}
	zr, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range zr.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[f.Name] = string(b)
	}
	want := map[string]string{
		"index":  "odd - - - char-major-10-1\ntun - - - char-major-10-200\nvxlan -udp_tunnel -p - rtnl-link-vxlan\n",
		"others": "a\nb\n", "builtin": "y\nz",
		"tun.ko": "tun's", "vxlan.ko": "vxlan's", "odd.ko": "odd's",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff("net/tun 10 200\n", string(deviceNodes(found))); d != "" {
		t.Errorf("devices (-want +got):\n%s", d)
	}
}
