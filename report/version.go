package report

import "strings"

// CompareVersions orders kernel releases and package versions from old to new;
// it returns -1, 0 or 1. Runs of digits compare as numbers (6.1.0-9 < 6.1.0-56),
// a release candidate or "~" comes before the release itself (6.12-rc1 < 6.12),
// and a leading "mainline-" or "v" does not count. Only equal strings and those
// that differ in leading zeros or such a prefix compare as 0.
func CompareVersions(a, b string) int {
	a, b = normalVersion(a), normalVersion(b)
	for a != "" || b != "" {
		var x, y string
		x, a = cutRun(a, false)
		y, b = cutRun(b, false)
		if c := compareText(x, y); c != 0 {
			return c
		}
		x, a = cutRun(a, true)
		y, b = cutRun(b, true)
		x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
		if len(x) != len(y) {
			return sign(len(x) - len(y))
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// normalVersion rewrites what stands for "before" to "~", as dpkg has it.
func normalVersion(s string) string {
	s = strings.TrimPrefix(s, "mainline-")
	if len(s) > 1 && s[0] == 'v' && isDigit(s[1]) {
		s = s[1:]
	}
	return strings.ReplaceAll(s, "-rc", "~rc")
}

func cutRun(s string, digits bool) (run, rest string) {
	i := 0
	for i < len(s) && isDigit(s[i]) == digits {
		i++
	}
	return s[:i], s[i:]
}

// compareText compares as dpkg does: "~" before the end, the end before
// letters, letters before everything else.
func compareText(a, b string) int {
	for i := 0; i < len(a) || i < len(b); i++ {
		if c := sign(textRank(a, i) - textRank(b, i)); c != 0 {
			return c
		}
	}
	return 0
}

func textRank(s string, i int) int {
	switch {
	case i >= len(s):
		return 0
	case s[i] == '~':
		return -1
	case 'a' <= s[i] && s[i] <= 'z' || 'A' <= s[i] && s[i] <= 'Z':
		return int(s[i])
	}
	return int(s[i]) + 256
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func sign(n int) int { return max(-1, min(1, n)) }
