package oom

import "testing"

func TestParse(t *testing.T) {
	for vmstat, want := range map[string]uint64{
		"":                                   0,
		"nr_free 1\noom_kill 3\npgfault 9\n": 3,
		"oom_kill_x 4\n":                     0,
		"oom_kill many\n":                    0,
	} {
		if got := parse(vmstat); got != want {
			t.Errorf("of %q: %d, want %d", vmstat, got, want)
		}
	}
}
