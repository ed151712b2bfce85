package report

import "fmt"

// Coverage is the Go coverage of all kernels together.
type Coverage struct {
	Kernels    int `json:"kernels" limit:"100000"` // whose profiles are in it, whatever became of them
	Of         int `json:"of" limit:"100000"`      // kernels of the list
	Statements int `json:"statements" limit:"2000000000"`
	Covered    int `json:"covered" limit:"2000000000"` // on any kernel

	Some     int      `json:"covered_on_some" limit:"2000000000"` // of Covered: not on all of Kernels
	Places   []string `json:"places,omitempty" limit:"100"`       // where these are, and on which kernels, the most statements first, one line each
	Problems []string `json:"problems,omitempty" limit:"100"`     // profiles that are left out, and why, one line each
}

// Words says it in one line, with as many as most places. show quotes what comes
// from a guest.
func (c *Coverage) Words(most int, show func(string) string) string {
	s := "no profile came of " + Count(c.Of, "kernel")
	if c.Kernels > 0 {
		s = fmt.Sprintf("%.1f %% of %s, on %s of %s", 100*float64(c.Covered)/float64(max(1, c.Statements)), Count(c.Statements, "statement"), Thousands(c.Kernels), Count(c.Of, "kernel"))
	}
	if c.Some > 0 {
		s += fmt.Sprintf("; %s covered on some of them only: %s", Count(c.Some, "statement"), List(c.Places, most, show))
	}
	if len(c.Problems) > 0 {
		s += "; " + List(c.Problems, most, show)
	}
	return s
}
