// Package deployed takes a snapshot of a network as it is deployed: it asks
// EC2 for network ACLs, security groups, network interfaces, subnets, NAT
// gateways, routes, prefix lists and flow logs, and writes what it was told
// as the AWS CLI prints it, one file a call, for rules.ReadDir to read.
//
//	s, err := deployed.Read(ctx, deployed.New(cfg), deployed.Options{VPCs: []string{"vpc-0a1"}})
//	if err != nil {
//		return err
//	}
//	saved, err := s.Save("network", time.Now(), false)
//
// It reads only, and its calls need the IAM actions of the same names; they
// are the methods of API.
//
// # Limits
//
// The calls are made one after the other over some seconds, and EC2 has no
// way to ask for one moment: a change in between can be in one file and not
// in another. Of other accounts' security groups and network interfaces EC2
// shows only what is shared.
package deployed
