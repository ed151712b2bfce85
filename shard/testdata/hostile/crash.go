package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// crash sets the limits of the kernel's watchdogs, given as FILE=VALUE below
// /proc/sys/kernel or in full, so that tests need not wait for theirs, and
// makes the kernel do something wrong.
func crash(what string, limits []string) error {
	for _, l := range limits {
		file, value, _ := strings.Cut(l, "=")
		if !strings.HasPrefix(file, "/") {
			file = "/proc/sys/kernel/" + file
		}
		if err := os.WriteFile(file, []byte(value), 0); err != nil {
			return fmt.Errorf("set a limit: %w", err)
		}
	}
	if err := loadModule(what); err != nil {
		return fmt.Errorf("load a module that does %s: %w", what, err)
	}
	if strings.HasPrefix(what, "thread-") {
		time.Sleep(time.Second) // it has its turn
	}
	fmt.Println("the kernel has survived", what)
	return nil
}
