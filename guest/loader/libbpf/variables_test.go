package libbpf

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func TestGlobals(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/settings.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	g, err := ReadGlobals(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	got, err := g.Encode(wire.Variable{Name: "config.inner[1].name", Value: `"a"`})
	if err != nil || got.Map != ".rodata" || got.Offset != 4+14 || len(got.Data) != 8 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, name := range []string{"", "config_", "conf", ".config", "[0]"} {
		if _, err := g.Encode(wire.Variable{Name: name, Value: "1"}); !errors.Is(err, ErrNoVariable) {
			t.Errorf("%q: %v, want that there is none", name, err)
		}
	}
}
