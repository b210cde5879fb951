//! Every network against the listings of its reference implementation: keys, shapes, counts, taps.
use crate::{NetworkConfig, TapInfo, TapShape, network_names};

use super::{hash, listing};

const TABLE: &str = include_str!("../../fixtures/networks.tsv");

struct Row {
    name: &'static str,
    side: usize,
    classes: usize,
    params: usize,
    entries: usize,
    macs: u64,
    hash: &'static str,
    feats: Vec<&'static str>,
    pre: Vec<&'static str>,
    pooled: usize,
}

fn rows() -> Vec<Row> {
    let number = |cell: &str| cell.parse().unwrap();
    let parse = |line: &'static str| {
        let c: Vec<&str> = line.split('\t').collect();
        Row {
            name: c[0],
            side: number(c[1]),
            classes: number(c[2]),
            params: number(c[3]),
            entries: number(c[4]),
            macs: c[5].parse().unwrap(),
            hash: c[6],
            feats: c[7].split(' ').collect(),
            pre: if c[8] == "-" { vec![] } else { c[8].split(' ').collect() },
            pooled: number(c[9]),
        }
    };
    TABLE.lines().map(parse).collect()
}

/// The network's lines; the listing of the option-A networks comes from files without batch counters.
fn lines(row: &Row) -> Vec<String> {
    let mut lines = super::lines(&NetworkConfig::new(row.name, 3, row.classes).graph().unwrap());
    lines.retain(|line| !row.name.ends_with('a') || !line.contains(".num_batches_tracked "));
    lines
}

#[test]
fn keys_shapes_and_counts_match_the_listings() {
    for row in rows() {
        let lines = lines(&row);
        assert_eq!(lines.len(), row.entries, "{}", row.name);
        assert_eq!(hash(&lines), row.hash, "{}: {:?}", row.name, &lines[..4]);
        let graph = NetworkConfig::new(row.name, 3, row.classes).graph().unwrap();
        let params: usize = graph.params().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(params, row.params, "{}", row.name);
        assert_eq!(graph.macs(row.side, row.side).unwrap(), row.macs, "{}", row.name);
    }
}

#[test]
fn every_network_is_in_the_listings() {
    let rows = rows();
    // No listing exists for the deepest option-A network and some DeiT; they are the same code at another size.
    // Segmentation networks have listings and tests of their own.
    let segmenter = |name: &str| NetworkConfig::new(name, 3, 2).is_segmenter().unwrap();
    let listed = |name: &str| rows.iter().any(|r| r.name == name) || segmenter(name);
    let missing: Vec<_> = network_names().into_iter().filter(|n| !listed(n)).collect();
    let same = ["deit_base_patch16_224", "deit_small_distilled_patch16_224", "deit_base_distilled_patch16_224"];
    assert_eq!(missing, [&["cifar-resnet110a"][..], &same].concat());
}

#[test]
fn tap_shapes_match_the_listings() {
    for row in rows() {
        let taps = NetworkConfig::new(row.name, 3, row.classes).taps(row.side, row.side).unwrap();
        let text = |t: &TapInfo| t.shape.to_string().replace(" tokens", "");
        let shape = |name: &str| taps.iter().find(|t| t.name == name).map(text);
        for (k, wanted) in row.feats.iter().enumerate() {
            let name = if k == 0 { "stem".to_string() } else { format!("stage{k}") };
            assert_eq!(shape(&name).as_deref(), Some(*wanted), "{} {name}", row.name);
        }
        for (k, wanted) in row.pre.iter().enumerate().skip(1) {
            let name = format!("stage{k}.pre");
            assert_eq!(shape(&name).as_deref(), Some(*wanted), "{} {name}", row.name);
        }
        assert_eq!(shape("pooled"), Some(row.pooled.to_string()), "{}", row.name);
        let last = taps.last().unwrap();
        assert_eq!((last.name.as_str(), last.shape), ("logits", TapShape::Vector { channels: row.classes }));
        assert_eq!(last.stride, row.side);
        let stem: Vec<usize> = row.feats[0].split('x').map(|n| n.parse().unwrap()).collect();
        let rows = if let [tokens, _] = stem[..] { tokens.isqrt() } else { stem[1] };
        assert_eq!(taps[0].stride, row.side / rows, "{}", row.name);
    }
}

/// The same against the full listings, key by key, where the shared files are there.
#[test]
fn full_listings_agree() {
    let sources = [
        ("cifar-resnet20", "md_resnet20"),
        ("cifar-resnet8x4", "md_resnet8x4"),
        ("cifar-wrn-40-2", "md_wrn_40_2"),
        ("cifar-vgg13", "md_vgg13"),
        ("cifar-mobilenetv2", "md_MobileNetV2"),
        ("cifar-shufflenetv1", "md_ShuffleV1"),
        ("cifar-shufflenetv2", "md_ShuffleV2"),
        ("cifar-resnet18-wide", "md_ResNet18"),
        ("cifar-resnet50-wide", "md_ResNet50"),
        ("resnet101", "tv_resnet101"),
        ("mobilenet_v2", "tv_mobilenet_v2"),
        ("deit_tiny_distilled_patch16_224", "timm_deit_tiny_distilled_patch16_224"),
        ("vit_base_patch16_224", "timm_vit_base_patch16_224"),
    ];
    let rows = rows();
    for (name, source) in sources {
        let Some(wanted) = listing(source) else { continue };
        assert_eq!(lines(rows.iter().find(|r| r.name == name).unwrap()), wanted, "{name}");
    }
}
