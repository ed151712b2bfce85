package kernel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTrim(t *testing.T) {
	digest := func(i int) string { return "sha256:" + strings.Repeat(fmt.Sprint(i), 64) }
	for name, tt := range map[string]struct {
		keep []string
		max  int64
		want []string // kernels that are left
		sum  int64
	}{
		"all that is needed":  {[]string{digest(1), digest(2), digest(9)}, 1000, []string{"1", "2"}, 300},
		"the largest goes":    {[]string{digest(1), digest(2), digest(3)}, 400, []string{"1", "2"}, 300},
		"as much as there is": {[]string{digest(1), digest(2), digest(3)}, 600, []string{"1", "2", "3"}, 600},
		"nothing":             {nil, 1000, nil, 0},
		"no room":             {[]string{digest(1)}, 0, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := NewCache(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for i := 1; i <= 3; i++ {
				dir := filepath.Join(c.Dir(), kernelsDir, strings.Repeat(fmt.Sprint(i), 64))
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, KernelFile), make([]byte, 100*i), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			sum, err := c.Trim(tt.keep, tt.max)
			if err != nil || sum != tt.sum {
				t.Errorf("%d bytes, %v, want %d", sum, err, tt.sum)
			}
			var left []string
			list, err := os.ReadDir(filepath.Join(c.Dir(), kernelsDir))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				left = append(left, e.Name()[:1])
			}
			if d := cmp.Diff(tt.want, left); d != "" {
				t.Error(d)
			}
			if rest, err := os.ReadDir(c.Dir()); err != nil || len(rest) != 1 {
				t.Errorf("beside the kernels: %v, %v", rest, err)
			}
		})
	}
	c, err := NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Trim([]string{"../x"}, 1); err == nil {
		t.Error("a digest that is none was taken")
	}
}
