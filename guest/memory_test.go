package guest

import (
	"fmt"
	"regexp"
	"testing"
)

// What was seen to run is let through, and what cannot is not. The memory that is
// named is one with which it ran: Debian's 5.10, 6.1, 6.12 and 7.2 under TCG.
func TestMemory(t *testing.T) {
	for _, tt := range []struct {
		mib, memory int
		restored    bool
		want        string
	}{
		{0, 128, false, ""},
		{30, 128, false, ""},
		{40, 128, false, `give --memory 256$`},
		{300, 900, false, `^the payload's files take 300 MiB, which do not fit a VM of 900 MiB: give --memory 1024$`},
		{300, 968, false, ""},
		{300, 448, true, ""},
		{300, 300, true, `give --memory 1024$`},
		{600, 2048, false, ""},
		{600, 1024, false, `give --memory 1984$`},
		{2047, 1024, false, `give --memory 6336$`},
	} {
		t.Run(fmt.Sprint(tt.mib, tt.memory, tt.restored), func(t *testing.T) {
			m := Memory{Archive: int64(tt.mib) << 20, Unpacked: int64(tt.mib) << 20}
			err := m.Check(tt.memory, tt.restored)
			if (err == nil) != (tt.want == "") || err != nil && !regexp.MustCompile(tt.want).MatchString(err.Error()) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	p := Payload{Files: []File{{Data: []byte("x")}, {}, {Data: make([]byte, 4096)}}}
	m := p.Memory()
	m.Add(Memory{Archive: 1, Unpacked: 4096})
	if want := (Memory{Archive: 4098, Unpacked: 12288}); m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
}
