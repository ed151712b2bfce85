package wire

import (
	"strings"
	"testing"
)

const goodHandover = `{"nonce":"n","now":1795568400000000000,"entropy":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","archives":[{"size":1,"crc32c":2}]}`

func TestParseHandover(t *testing.T) {
	h, err := ParseHandover([]byte(goodHandover))
	if err != nil || h.Nonce != "n" || len(h.Entropy) != MinEntropy || len(h.Archives) != 1 {
		t.Fatalf("%+v, %v", h, err)
	}
	for _, change := range [][2]string{
		{`"n"`, `""`},
		{`"now":1795568400000000000,`, ``},
		{`AAAAAAAA`, ``},
		{`"size":1`, `"size":-1`},
		{`"nonce"`, `"other":1,"nonce"`},
		{`]}`, `]}{}`},
	} {
		bad := strings.Replace(goodHandover, change[0], change[1], 1)
		if h, err := ParseHandover([]byte(bad)); err == nil {
			t.Errorf("%s is %+v", bad, h)
		}
	}
}

func FuzzParseHandover(f *testing.F) {
	f.Add([]byte(goodHandover))
	f.Fuzz(func(t *testing.T, in []byte) {
		if h, err := ParseHandover(in); err == nil && (h.Nonce == "" || h.Now <= 0 || len(h.Entropy) < MinEntropy || len(h.Archives) > MaxHandoverArchives) {
			t.Fatalf("%+v", h)
		}
	})
}
