// Package awscli writes the steps from one rule set to another as a bash
// script of AWS CLI commands.
//
//	err := awscli.Write(w, revision, steps, warnings)
//
// The script is for people to read first:
//
//	bash apply.sh --region eu-west-1 --profile admin
//
// It needs bash, from version 3.2 on, and the AWS CLI, of version 1 or 2. Its
// arguments become arguments of each command. Before the first change it
// compares what EC2 has with what the revision was made from, and stops if
// that differs; EPHEMERA_SKIP_CHECK=1 in its environment leaves that out. The
// order of the commands is the steps'; which order leaves no gap is not known
// here.
package awscli
