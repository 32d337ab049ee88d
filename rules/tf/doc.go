// Package tf writes and reads rules as Terraform configuration for the
// hashicorp/aws provider: aws_network_acl_rule, one for each network ACL
// entry, and aws_vpc_security_group_ingress_rule and _egress_rule, one for
// each security group rule.
//
//	err := tf.Write(w, revision)
//	set, err := tf.Read(r, "rules.tf")
//
// What Write writes, Read reads back. Of what people write, Read reads
// literal values: numbers, strings and booleans. It knows neither variables
// nor modules, and says where it meets what it cannot know.
//
// The names and attributes are those of version 5 of the provider.
// Source: documentation of the Terraform provider for AWS, pages of the resources.
package tf
