// Command guest passes, fails, makes its kernel panic, or hangs, as its argument
// says. The project's CI runs the action on it.
package main

import (
	"fmt"
	"os"
	"time"
)

func main() {
	what := ""
	if len(os.Args) == 2 {
		what = os.Args[1]
	}
	switch what {
	case "pass":
		fmt.Println("all is well")
	case "fail":
		fmt.Println("probe_foo: not attached")
		os.Exit(1)
	case "panic":
		if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
	case "hang":
		time.Sleep(time.Hour)
	default:
		fmt.Println("usage: guest pass|fail|panic|hang")
		os.Exit(2)
	}
}
