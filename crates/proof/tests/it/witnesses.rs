//! What a witness answers.

use logline_proof::note::{Error, Untrusted};
use logline_proof::witness::{Answer, Unusable, cosignature};
use logline_proof::{Algorithm, SignatureLine, VerifierKey};

use crate::{Log, key};

const SIZE: Option<&str> = Some("text/x.tlog.size");

#[test]
fn statuses_have_their_meaning() {
    for (status, content_type, body, expected) in [
        (409, SIZE, "20852014\n", Answer::Knows { size: 20_852_014 }),
        (409, SIZE, "0\n", Answer::Knows { size: 0 }),
        (
            409,
            Some("Text/X.tlog.size; charset=utf-8"),
            "7\n",
            Answer::Knows { size: 7 },
        ),
        (409, Some("text/plain"), "7\n", Answer::Forked),
        (409, None, "", Answer::Forked),
        (422, None, "", Answer::BadProof),
        (403, None, "", Answer::UnknownKey),
        (404, None, "", Answer::UnknownLog),
        (400, None, "", Answer::Refused { status: 400 }),
        (503, SIZE, "7\n", Answer::Refused { status: 503 }),
    ] {
        assert_eq!(Answer::read(status, content_type, body), Ok(expected));
    }
    for body in [
        "",
        "7",
        "07\n",
        "-1\n",
        "7\n\n",
        "seven\n",
        "9223372036854775808\n",
    ] {
        let answer = Answer::read(409, SIZE, body);
        assert_eq!(answer, Err(Unusable::Malformed), "{body:?}");
    }
    for (body, why) in [
        ("", Error::NotSigned),
        ("\n", Error::SignatureLine),
        ("\u{2014} w.example AAAA", Error::NotSigned),
        ("\u{2014} w.example AAAA\n", Error::SignatureLine),
        ("- w.example AAAAAAA=\n", Error::SignatureLine),
        ("\u{2014} w+example AAAAAAA=\n", Error::SignatureLine),
    ] {
        let answer = Answer::read(200, None, body);
        assert_eq!(answer, Err(Unusable::Signatures(why)), "{body:?}");
    }
}

#[test]
fn the_witnesss_own_cosignature_is_found_and_verified() {
    let checkpoint = Log::of_numbers(7).checkpoint(7);
    let name = "w.example/1".parse().unwrap();
    let witness = VerifierKey::new(name, Algorithm::CosignatureV1, key(2).public_key());
    let text = checkpoint.note().text();
    let own = SignatureLine::cosign(text, witness.name(), &key(2), 1_769_860_800);
    let stranger = SignatureLine::cosign(text, witness.name(), &key(3), 1);
    let lines = |body: &str| match Answer::read(200, None, body) {
        Ok(Answer::Cosigned(lines)) => lines,
        other => panic!("{other:?}"),
    };
    let answer = lines(&format!("{stranger}\n{own}\n"));
    assert_eq!(
        cosignature(&checkpoint, &answer, &witness),
        Ok((own, 1_769_860_800))
    );
    assert_eq!(
        cosignature(&checkpoint, &lines(&format!("{stranger}\n")), &witness),
        Err(Unusable::Untrusted(Untrusted::NoKnownKey))
    );
    let other = Log::of_numbers(8).checkpoint(8);
    assert_eq!(
        cosignature(&other, &answer, &witness),
        Err(Untrusted::BadSignature(witness.name().clone()).into())
    );
}
