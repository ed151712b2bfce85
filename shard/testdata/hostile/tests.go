package main

import (
	"crypto/rand"
	"fmt"
	"os"
	"time"
)

// tests prints what a go test -v does whose tests behave as mode says.
func tests(mode string) {
	run := func(name string) { fmt.Printf("=== RUN   %s\n", name) }
	pass := func(name string) { fmt.Printf("--- PASS: %s (0.00s)\n", name) }
	run("TestFirst")
	pass("TestFirst")
	switch mode {
	case "hang":
		run("TestHangs")
		time.Sleep(time.Hour)
	case "parallel":
		run("TestA")
		fmt.Println("=== PAUSE TestA")
		run("TestB")
		fmt.Println("=== PAUSE TestB")
		fmt.Println("=== CONT  TestB")
		time.Sleep(2 * time.Second)
		fmt.Println("=== CONT  TestA")
		time.Sleep(time.Hour)
	case "slow": // longer in all than one test may take, and the whole of a test too
		run("TestWhole")
		for i := range 3 {
			name := fmt.Sprintf("TestWhole/%d", i)
			run(name)
			time.Sleep(3 * time.Second)
			fmt.Printf("    --- PASS: %s (3.00s)\n", name)
		}
		pass("TestWhole")
	case "coins": // 20 tests that pass or fail as the kernel's random numbers have it
		coins := make([]byte, 20)
		_, err := rand.Read(coins)
		check(err)
		failed := false
		for i, c := range coins {
			name := fmt.Sprintf("TestCoin%02d", i)
			run(name)
			if c&1 == 0 {
				pass(name)
				continue
			}
			failed = true
			fmt.Printf("    coin_test.go:1: tails\n--- FAIL: %s (0.00s)\n", name)
		}
		if failed {
			fmt.Println("FAIL")
			os.Exit(1)
		}
	default:
		check(fmt.Errorf("unknown tests %q", mode))
	}
	fmt.Println("PASS")
}
