package lines

import (
	"io"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for _, tt := range []struct {
		name, in string
		want     []string // with "~" before a line that was cut
	}{
		{"none", "", nil},
		{"empty lines", "\n\n", []string{"", ""}},
		{"with and without end", "a\nb", []string{"a", "b"}},
		{"carriage return", "a\r\n", []string{"a"}},
		{"exactly the limit", long[:100_000] + "\nb\n", []string{long[:100_000], "b"}},
		{"one above", long[:100_001] + "\nb\n", []string{"~" + long[:100_000], "b"}},
		{"far above", long + "\nb\n", []string{"~" + long[:100_000], "b"}},
		{"above without end", long, []string{"~" + long[:100_000]}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := NewReader(strings.NewReader(tt.in), 100_000)
			var got []string
			for {
				line, cut, err := r.Next()
				if err == nil || len(line) > 0 {
					text := string(line)
					if cut {
						text = "~" + text
					}
					got = append(got, text)
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if strings.Join(got, "|") != strings.Join(tt.want, "|") || len(got) != len(tt.want) {
				t.Errorf("%d lines of lengths %v", len(got), lengths(got))
			}
		})
	}
}

func lengths(list []string) (n []int) {
	for _, s := range list {
		n = append(n, len(s))
	}
	return n
}

func TestClip(t *testing.T) {
	const head, tail = 64 << 10, 192 << 10
	for _, size := range []int{0, 1, head, head + 1, head + tail, head + tail + 1, 3 * (head + tail)} {
		for _, step := range []int{7, 1000, 300_000} {
			var in strings.Builder
			for in.Len() < size {
				in.WriteByte(byte('a' + in.Len()%23))
			}
			text := in.String()
			h := Clip{Head: head, Tail: tail}
			for rest := text; rest != ""; {
				n := min(step, len(rest))
				_, _ = h.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			got := h.String()
			if size <= head+tail {
				if got != text {
					t.Errorf("size %d, step %d: changed", size, step)
				}
				continue
			}
			if !strings.HasPrefix(got, text[:head]) || !strings.HasSuffix(got, text[size-tail:]) || !strings.Contains(got, " bytes cut ...]") {
				t.Errorf("size %d, step %d: wrong ends", size, step)
			}
		}
	}
}
