//! Short words for plans, for the tests of this folder.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};

use super::{Order, Plan, PlanBuilder, PortSet, Services, Target};

pub fn no_names(name: &str) -> io::Result<Vec<SocketAddr>> {
    match name {
        "two.test" => Ok(vec![
            "[2001:db8::1]:0".parse().expect("a value"),
            "192.0.2.9:0".parse().expect("a value"),
        ]),
        "blocked.test" => Ok(vec!["0.0.0.0:0".parse().expect("a value")]),
        "here.test" => Ok(vec!["127.0.1.1:0".parse().expect("a value")]),
        "twin.test" | "other.test" | "here-too.test" => {
            let twin = "192.0.2.9:0".parse().expect("a value");
            let own = "127.0.0.1:0".parse().expect("a value");
            let is_here = name == "here-too.test";
            Ok(if is_here { vec![own, twin] } else { vec![twin] })
        }
        "localhost" => Ok(vec![
            "[::1]:0".parse().expect("a value"),
            "127.0.0.1:0".parse().expect("a value"),
        ]),
        "fe80::1%7" => Ok(vec![
            SocketAddrV6::new("fe80::1".parse().expect("a value"), 0, 0, 7).into(),
        ]),
        _ => Err(io::Error::other("no such name")),
    }
}

pub fn targets(list: &str) -> PlanBuilder {
    Plan::builder().targets(
        list.split(' ')
            .map(|text| Target::parse(text).expect("a value")),
    )
}

pub fn ports(list: &str) -> PortSet {
    PortSet::parse(list, &Services::built_in()).expect("a value")
}

pub fn endpoints(builder: PlanBuilder) -> Vec<String> {
    let plan = builder
        .order(Order::Sequential)
        .build(&mut no_names)
        .expect("a value");
    plan.endpoints()
        .map(|endpoint| endpoint.to_string())
        .collect()
}
