package image

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

func FuzzModuleDepends(f *testing.F) {
	f.Add(imagetest.KoFile(imagetest.Modinfo("a,b")))
	f.Add(imagetest.KoFile(imagetest.Modinfo("")))
	f.Add(imagetest.KoFile("depends=a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := ModuleDepends(data)
		if err != nil && names != nil {
			t.Fatal("names beside an error")
		}
		for _, n := range names {
			if strings.ContainsAny(n, ",\x00") {
				t.Fatalf("name %q", n)
			}
		}
	})
}
