// Package collect is a payload for the tests of what init collects.
package collect

// Branch takes another branch on another kernel.
func Branch(release string) string {
	if len(release) > 1 && release[0] == '5' {
		return "old"
	}
	return "new"
}

// Crash ends the program by a fault.
func Crash() {
	var p *int
	*p = 1
}
