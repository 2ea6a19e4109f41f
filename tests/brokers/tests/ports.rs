//! Reserved ports: never given twice, neither inside one process nor between several.

use std::collections::HashSet;
use std::net::TcpListener;

use kombu_brokers::{ChildProcess, PATIENCE, ReservedPort, free_port};
use serde_json::json;

#[test]
fn a_reserved_port_can_be_bound_and_is_not_given_again() {
    let reserved: Vec<ReservedPort> = (0..200).map(|_| ReservedPort::new()).collect();
    let numbers: HashSet<u16> = reserved.iter().map(ReservedPort::number).collect();
    assert_eq!(numbers.len(), 200);
    let listener = TcpListener::bind(reserved[0].addr()).unwrap();
    assert_eq!(listener.local_addr().unwrap().port(), reserved[0].number());
    assert!(!numbers.contains(&free_port()));
}

#[test]
fn processes_do_not_share_ports() {
    let mut children: Vec<_> = (0..3).map(|_| ChildProcess::this_test("reserver").spawn()).collect();
    let mut all = HashSet::new();
    for child in &mut children {
        for port in child.recv_json(PATIENCE)["ports"].as_array().unwrap() {
            assert!(all.insert(port.as_u64().unwrap()), "port {port} was given twice");
        }
    }
    assert_eq!(all.len(), 300);
}

#[test]
#[ignore = "run by processes_do_not_share_ports"]
fn reserver() {
    let ports: Vec<u16> = (0..100).map(|_| free_port()).collect();
    println!("{}", json!({"ports": ports}));
    // Holds them until the test that asked has seen them all and kills us.
    std::thread::sleep(std::time::Duration::from_secs(600));
}
