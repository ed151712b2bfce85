package main

import "github.com/spf13/cobra"

func (c *command) indexQueryCommand() *cobra.Command {
	return &cobra.Command{Use: "query"}
}
